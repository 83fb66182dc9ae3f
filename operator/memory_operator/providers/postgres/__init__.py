"""A tenant in Postgres: schema, owner role, login role, privileges, migrations.

What a MemoryNamespace did not claim is never touched.
"""
