"""Text to unit vectors without a network: a static model (``potion``) and feature hashing (``hashing``).

Every class here fills ``ports.Embedder``. Which one a service uses is decided in ``composition``, not here.
"""
