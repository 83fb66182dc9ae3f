"""Helpers of the operator's integration tests."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from polling import until


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """Wait until a condition (plain or async) holds, and return its value; fails after a deadline."""
    return until
