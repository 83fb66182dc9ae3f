"""Where a Qdrant server is, how to log in, and how long to wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected

DEFAULT_PORT = 6333  # of Qdrant's REST interface, also over https; the driver assumes the same


@dataclass(frozen=True, slots=True)
class QdrantConnection:
    """An http(s) address and an API key that may manage collections.

    `ca_certificates` are the authorities to trust, in PEM; those of the operating system when None. Creating a
    collection or an index takes longer than reading, so it has a limit of its own. Raises `Rejected` for an address or
    a key that can never work.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    ca_certificates: str | None = field(default=None, repr=False)
    read_seconds: float = 5.0
    write_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not _is_usable(self.url):
            raise Rejected(
                "the URL of Qdrant is not of the form http(s)://host:port; correct qdrant.external.url",
                field="qdrant.external.url",
            )
        if self.api_key is not None and not _can_be_sent(self.api_key):
            raise Rejected(
                f"the API key for {self.where} is empty, or holds a space, a line break or another character that "
                "no HTTP header can carry; write it into the Secret anew, without the line break that `echo` adds",
                reason=Reason.AUTHENTICATION_FAILED,
            )

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "https"

    @property
    def address(self) -> str:
        """``host:port``."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or DEFAULT_PORT}"

    @property
    def where(self) -> str:
        """The server, as error messages call it."""
        return f"Qdrant at {self.address}"


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and _is_address_only(parts)
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def _is_address_only(parts: SplitResult) -> bool:
    """User, password, query and fragment would be dropped in silence; a port is checked by reading it."""
    return parts.port != 0 and not (parts.username or parts.password or parts.query or parts.fragment)


def _can_be_sent(key: str) -> bool:
    """Tell before the HTTP library does, whose error message would hold the key."""
    return bool(key) and key.isascii() and key.isprintable() and " " not in key
