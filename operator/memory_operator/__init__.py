"""Turns a MemoryNamespace into what it describes: one level-triggered reconcile over pure specs and providers.

``local`` runs that reconcile on one machine. The runtime is never imported from here; it is started, told by its
environment, and asked over HTTP.
"""
