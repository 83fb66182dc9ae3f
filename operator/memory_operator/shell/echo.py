"""Notices a watch that has gone deaf: what the operator itself writes must come back through it."""

from __future__ import annotations

from memory_operator.controller.watchdog import Watchdog
from memory_operator.kube.kinds import Kind

# kopf takes up to 70 s to notice a dead stream, and then lists anew.
ECHO_SECONDS = 180.0


class WatchEcho:
    """Expects each write to be seen again in time; the watchdog fails the liveness probe otherwise."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._seen: dict[Kind, int] = {}
        self._waiting: dict[Kind, int] = {}

    def wrote(self, kind: Kind, version: int) -> None:
        """Expect to see `version`; a write that changed nothing has been seen long ago."""
        if version <= self._seen.get(kind, 0):
            return
        if kind not in self._waiting:
            self._watchdog.expect(_name(kind), ECHO_SECONDS)
            self._waiting[kind] = version

    def seen(self, kind: Kind, version: int) -> None:
        """Note that the watch has delivered `version`."""
        self._seen[kind] = max(version, self._seen.get(kind, 0))
        if self._waiting.get(kind, version + 1) <= version:
            del self._waiting[kind]
            self._watchdog.dismiss(_name(kind))


def _name(kind: Kind) -> str:
    return f"the watch of {kind.plural}"
