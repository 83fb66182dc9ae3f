"""The same reconcile on one machine: targets that are processes, files and an embedded Postgres.

Here lives what a cluster would otherwise provide: a database server, a secret store, a runner of Deployments, and the
loop that calls `reconcile`. No decision about a MemoryNamespace is taken here; those belong to the reconcile, the
specs and the providers.
"""
