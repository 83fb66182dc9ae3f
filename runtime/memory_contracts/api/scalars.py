"""The scalars of Kubernetes as text: their patterns (in the subset that Rust and RE2 share), and how to read them."""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

# RFC 1123 label, the form Kubernetes asks of namespaces and of names that become Service names.
DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# RFC 1123 subdomain, the form of most other names.
SUBDOMAIN: Final = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
SECRET_KEY: Final = r"^[-._a-zA-Z0-9]+$"  # noqa: S105 - the form of a key, not a key
_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_NAME: Final = rf"^([a-z0-9]([-.a-z0-9]{{0,251}}[a-z0-9])?/)?{_NAME}$"
LABEL_VALUE: Final = rf"^({_NAME})?$"
# The subset of Go's durations that a person can read back; so few digits that Go's 64-bit nanoseconds hold them.
DURATION: Final = r"^([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$"
QUANTITY: Final = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?$"
CIDR: Final = r"^[0-9a-fA-F:.]+/(0|[1-9][0-9]{0,2})$"
# A name or IPv4 address, or an IPv6 address: a port, a path or a user in it would change the addresses made from it.
HOST: Final = r"^([-A-Za-z0-9._]+|[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*)$"

# What the patterns are called in the reference, and how such a text looks.
FORMS: Final = {
    DNS_LABEL: ("name", "team-a"),
    SUBDOMAIN: ("object name", "memory.team-a"),
    SECRET_KEY: ("key of a Secret", "ca.crt"),
    HOST: ("host", "2001:db8::1"),
    CIDR: ("range of addresses", "10.0.0.0/8"),
    DURATION: ("duration", "1h30m"),
    LABEL_NAME: ("name of a label", "example.com/app"),
    LABEL_VALUE: ("value of a label", "web"),
    QUANTITY: ("quantity", "1Gi"),
}

_DURATION_PART = re.compile(r"([0-9]+)([hms])")
_SECONDS = {"h": 3600, "m": 60, "s": 1}
_QUANTITY_PARTS = re.compile(r"([0-9.]+)(?:([KMGTPE])i|([numkMGTPE])|[eE]([-+]?[0-9]+))?")
_DECIMAL_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def duration_seconds(text: str) -> int:
    """Return the seconds of a duration such as ``1h30m``."""
    return sum(int(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text))


def parse_quantity(value: int | str) -> Decimal:
    """Return the number that a Kubernetes quantity such as ``250m``, ``1Gi`` or ``1e3`` stands for."""
    text = str(value)
    found = _QUANTITY_PARTS.fullmatch(text) if re.fullmatch(QUANTITY, text) else None
    if found is None:
        raise ValueError(f"{value!r} is no quantity; write one as 250m, 2 or 1Gi")
    number, binary, decimal, exponent = found.groups()
    if binary:
        return Decimal(number) * Decimal(1024) ** ("KMGTPE".index(binary) + 1)
    return Decimal(number).scaleb(_DECIMAL_POWERS[decimal] if decimal else int(exponent or 0))


def parse_cidr(text: str) -> IPv4Network | IPv6Network | None:
    """Return the range of addresses, or None when the text is none or an IPv4 range in IPv6's clothes."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        return None
    return network


def lies_inside(part: str, whole: str) -> bool:
    """Return whether the range `part` lies in `whole` and is smaller."""
    inner, outer = parse_cidr(part), parse_cidr(whole)
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner != outer and inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner != outer and inner.subnet_of(outer)
    return False
