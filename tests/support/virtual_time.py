"""An event loop whose clock jumps to the next thing that is due: tests of minutes run in milliseconds, and the same."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Sleeps by moving its clock. For code that waits for nothing but this loop: no threads, no sockets."""

    def __init__(self) -> None:
        self._virtual_now = 1000.0
        super().__init__(_SkippingSelector(self._pass))

    def time(self) -> float:
        return self._virtual_now

    def _pass(self, seconds: float | None) -> None:
        assert seconds is not None, "every task waits for another: nothing will ever happen"
        # A little more than asked: the sum may be rounded to just before the moment.
        self._virtual_now += seconds + 1e-9 if seconds > 0 else 0.0


class _SkippingSelector(selectors.DefaultSelector):
    def __init__(self, wait: Callable[[float | None], None]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            self._wait(timeout)
        return ready


def in_virtual_time(test: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Make a plain test of an async one, run on a `VirtualTimeLoop`."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> Any:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:

            async def body() -> Any:
                return await test(*arguments, **named)

            return runner.run(body())

    return run


def virtual_now() -> float:
    return asyncio.get_running_loop().time()
