"""How the double says no, in the two forms that Qdrant has."""

from __future__ import annotations


class Refused(Exception):
    """An answer of the interface: JSON with ``status.error``."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


class NotAuthenticated(Exception):
    """An answer from before the interface: plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def wrong_input(what: str) -> Refused:
    return Refused(400, f"Wrong input: {what}")


def not_found(what: str) -> Refused:
    return Refused(404, f"Not found: {what}")


def not_imitated(what: object) -> Refused:
    """Qdrant may know it, the double does not: a test that leans on it must fail loudly."""
    return Refused(501, f"this is a test double of Qdrant, which does not imitate {what}")
