"""The running operator: the queue's workers, the sweeps, the watches, and the process around them.

kopf is the transport only: its handlers put what they see into the cache and a key on the queue. All decisions are
made by ``reconcile``, ``deletion`` and ``cluster``.
"""
