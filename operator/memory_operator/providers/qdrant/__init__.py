"""A tenant in Qdrant: a collection with its payload indexes, and the alias by which it is used.

Whose a collection is, is written in its metadata when it is created. A collection without the tenant's mark is never
changed or dropped, and no collection is dropped to make its vectors fit.
"""
