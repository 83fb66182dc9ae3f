"""A tenant in Redis or Valkey: an ACL user that reaches the keys and channels of one prefix, and nothing else.

``acl.py`` says what such a user may do, ``plan.py`` decides, ``client.py`` observes and applies. What a MemoryNamespace
did not claim is never touched. The keys are a cache: nothing here keeps them safe, and a deletion removes them.
"""
