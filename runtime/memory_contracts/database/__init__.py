"""The tables of a namespace: the migrations in ``*.sql`` and the one function that applies them.

The operator applies them as the owner of the schema, the runtime queries what they made; so they belong to neither.
"""
