"""Which service a command talks to, and with which token."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from memory_contracts.errors import Rejected, Unavailable

DEFAULT_URL = "http://127.0.0.1:9595"
URL_VARIABLE = "SOMA_URL"
TOKEN_VARIABLE = "SOMA_API_TOKEN"  # noqa: S105 - a name
TOKEN_FILE_VARIABLE = "SOMA_API_TOKEN_FILE"  # noqa: S105 - a name
STATE_ORIGIN = "the .soma folder"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address such as ``http://127.0.0.1:9595`` and the bearer token it wants, None when there is none."""

    url: str
    token: str | None = field(default=None, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Tell whether the service runs on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def find_endpoint(
    url: str | None, token: str | None, token_file: Path | None, environ: Mapping[str, str], directory: Path
) -> Endpoint:
    """Return the endpoint the options name, else the environment, else the nearest ``.soma`` from `directory` up.

    The local token goes to the local endpoint only. Raises `Rejected` for an unusable option and `Unavailable` when
    nothing says where a service might be.
    """
    url = _checked_url(url or environ.get(URL_VARIABLE) or None)
    token = _given_token(token, token_file, environ)
    local = None if url and token else _find_local(directory)
    if local and url in (None, local[0]):
        return Endpoint(local[0], token or _read_token(local[1], STATE_ORIGIN))
    if url or token:
        return Endpoint(url or DEFAULT_URL, token)
    raise Unavailable(
        "no service is known here; start one with `soma up -f namespace.yaml`, or name one with --url and --token-file"
    )


def first_token(text: str) -> str:
    """Return the first token of `text`, one a line or separated by commas as the service reads them; "" when none."""
    return next((part.strip() for part in text.replace(",", "\n").splitlines() if part.strip()), "")


def _given_token(token: str | None, token_file: Path | None, environ: Mapping[str, str]) -> str | None:
    if token and token_file:
        raise Rejected("give --token or --token-file, not both", field="--token")
    if token:
        return _checked_token(token, "--token")
    if token_file:
        return _read_token(token_file, "--token-file")
    if environ.get(TOKEN_VARIABLE):
        return _checked_token(environ[TOKEN_VARIABLE], TOKEN_VARIABLE)
    if environ.get(TOKEN_FILE_VARIABLE):
        return _read_token(Path(environ[TOKEN_FILE_VARIABLE]), TOKEN_FILE_VARIABLE)
    return None


def _find_local(directory: Path) -> tuple[str, Path] | None:
    """Return address and token file of the service that runs from the nearest ``.soma``."""
    # Imported here because it needs pydantic, whose import takes longer than a request.
    from memory_contracts.local import find_state_directory, read_endpoint  # noqa: PLC0415

    state = find_state_directory(directory)
    found = read_endpoint(state) if state else None
    return (_normal(found.endpoint), state / found.token_file) if state and found else None


def _checked_url(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Rejected(f"{url!r} is not an address like {DEFAULT_URL}", field="--url")
    return _normal(url)


def _normal(url: str) -> str:
    return url.rstrip("/")


def _read_token(path: Path, origin: str) -> str:
    try:
        return _checked_token(path.read_text(encoding="utf-8"), origin)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Rejected(f"cannot read the token in {path} ({reason})", field=origin) from None


def _checked_token(text: str, origin: str) -> str:
    token = first_token(text)
    if not token:
        raise Rejected("there is no token in it", field=origin)
    if not (token.isascii() and token.isprintable()):
        raise Rejected("the token has characters that no HTTP header can carry", field=origin)
    return token
