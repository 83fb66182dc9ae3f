"""One namespace's service: store and recall over Postgres, with the vectors in memory.

Entrances (``api``, ``cli``) call use cases (``services``), which know ``ports``; ``adapters`` fill the ports and
``composition`` joins them. The operator is never imported from here.
"""
