"""Which plane has the machine for its node: there can be one."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from controlplane.processes import Processes

from memory_operator.local.processes import ProcessRecord, observe_process

RECORD = Path("/run/lock/memory-test-node.json")
SECONDS = 600.0
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of the plane in `directory`; it holds while the process that took it, or the node's kubelet, lives."""

    directory: Path

    def take(self, clear: Callable[[Path], None], seconds: float = SECONDS) -> None:
        """Wait for our turn; `clear` removes what a plane left that died without a farewell.

        Raises:
            TimeoutError: another node holds the machine for longer than that.
        """
        deadline = time.monotonic() + seconds
        while not self._try(clear):
            if time.monotonic() > deadline:
                owner = kept.directory if (kept := _read()) else None
                raise TimeoutError(
                    f"the node of {owner} holds this machine for more than {seconds:.0f} s; end that one"
                )
            time.sleep(POLL_SECONDS)

    def release(self) -> None:
        """Let others have the machine."""
        if self.is_ours():
            RECORD.unlink(missing_ok=True)

    def is_ours(self) -> bool:
        """Whether this plane has the machine."""
        kept = _read()
        return kept is not None and kept.directory == self.directory

    def _try(self, clear: Callable[[Path], None]) -> bool:
        RECORD.parent.mkdir(exist_ok=True)
        with RECORD.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = _read()
            if kept is not None and kept.directory != self.directory:
                if kept.holds:
                    return False
                clear(kept.directory)
            taker = observe_process("taker", os.getpid())
            assert taker is not None
            RECORD.write_text(json.dumps({"directory": str(self.directory), "taker": asdict(taker)}), "utf-8")
            return True


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the record says."""

    directory: Path
    taker: ProcessRecord

    @property
    def holds(self) -> bool:
        """Whether anyone still stands behind the claim."""
        return self.taker.alive or Processes(self.directory).find("kubelet") is not None


def _read() -> _Kept | None:
    try:
        kept = json.loads(RECORD.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return _Kept(Path(kept["directory"]), ProcessRecord(**kept["taker"]))
