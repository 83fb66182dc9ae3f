"""Kubernetes as the operator uses it: a thin client, the kinds it knows, and the targets of the reconcile in a cluster.

What an object should look like is decided in ``specs``; when to look is decided by the controller.
"""
