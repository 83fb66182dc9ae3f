"""The HTTP entrance: parses, authenticates, limits, calls a use case, words the answer. No business rule lives here."""
