"""The namespace's schema in Postgres: the pool, the named queries of ``sql/``, and the two ports they fill."""
