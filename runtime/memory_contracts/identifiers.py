"""Coordinates and memory ids.

A coordinate is a point of 1..64 finite floats. It names a memory: the same coordinate in the same namespace is the
same memory, however it was written (``"1,2.5"``, ``[1.0, 2.5]``, ``"1.0, 2.50"``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from memory_contracts.errors import Rejected

MAX_DIMENSIONS = 64
MAX_TEXT_LENGTH = 2048
# uuid5(NAMESPACE_DNS, "memory.somafractal.io"), written out so that ids can never move.
_ID_SPACE = UUID("5e2ae3f5-20b1-50e7-a112-941ffafffc5b")

Coordinate: TypeAlias = tuple[float, ...]


def parse_coordinate(value: object, *, field: str = "coord") -> Coordinate:
    """Return the coordinate written in `value`, a string like ``"1.0,2.5"`` or a sequence of numbers.

    Raises `Rejected` naming `field` when it is empty, too long, or has a part that is not a finite number.
    """
    numbers = tuple(_parse_number(part, field) for part in _split(value, field))
    if not 1 <= len(numbers) <= MAX_DIMENSIONS:
        raise Rejected(f"a coordinate has 1 to {MAX_DIMENSIONS} numbers, this one has {len(numbers)}", field=field)
    return numbers


def canonical_coordinate(coordinate: Sequence[float]) -> str:
    """Return the one text form of a coordinate: shortest round-trip decimals joined by commas."""
    return ",".join(repr(number) for number in coordinate)


def memory_id(namespace: str, coordinate: Sequence[float]) -> UUID:
    """Return the id of the memory at `coordinate` in `namespace`: a uuid5, the same on every machine for ever."""
    digest = hashlib.sha1(_ID_SPACE.bytes, usedforsecurity=False)  # RFC 9562, section 5.5; as uuid.uuid5, twice as fast
    digest.update(f"{namespace}\n{canonical_coordinate(coordinate)}".encode())
    return UUID(bytes=digest.digest()[:16], version=5)


def derive_coordinate(*parts: str) -> Coordinate:
    """Return a coordinate for something that has none: four 48-bit integers of the SHA-256 of `parts`.

    48 bits are exact in a float, so the coordinate survives every JSON codec; 192 bits keep collisions out of reach.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).digest()
    return tuple(float(int.from_bytes(digest[at : at + 6], "big")) for at in range(0, 24, 6))


def _split(value: object, field: str) -> Sequence[object]:
    if isinstance(value, str):
        if len(value) > MAX_TEXT_LENGTH:
            raise Rejected(f"a coordinate has at most {MAX_TEXT_LENGTH} characters", field=field)
        return value.split(",") if value.strip() else ()
    if isinstance(value, (list, tuple)):
        return value
    raise Rejected('a coordinate is a string like "1.0,2.5" or a list of numbers', field=field)


def _parse_number(part: object, field: str) -> float:
    if isinstance(part, bool) or not isinstance(part, (str, int, float)):
        raise Rejected(f"a coordinate holds numbers only, not {type(part).__name__}", field=field)
    try:
        number = float(part) if not isinstance(part, str) else _parse_decimal(part)
    except (ValueError, OverflowError):
        raise _not_finite(part, field) from None
    if not math.isfinite(number):
        raise _not_finite(part, field)
    return number + 0.0  # -0.0 and 0.0 are the same place


def _not_finite(part: str | float, field: str) -> Rejected:
    # Python refuses to write out an integer of more than 4,300 digits.
    shown = f"an integer of {part.bit_length()} bits" if isinstance(part, int) else repr(str(part)[:40])
    return Rejected(f"{shown} is not a finite number", field=field)


def _parse_decimal(text: str) -> float:
    # float() also takes "1_0" and non-ASCII digits, which no other client would read the same way.
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return float(text)
