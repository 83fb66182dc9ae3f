"""One package a backend: ``plan.py`` decides (pure), ``client.py`` observes and applies.

Drivers are used here and nowhere else: in ``client.py``, or in the module that it keeps for that (``pool.py``,
``admin.py``).
"""
