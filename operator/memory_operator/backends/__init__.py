"""The backends of each MemoryCluster, and each tenant's share of them.

How to reach them is read from the specification and its Secrets (``connections``), one connection pool each is opened
(``servers``) and kept as long as anybody needs it (``registry``). What a share should look like is decided in
``shares`` and ``providers``.
"""
