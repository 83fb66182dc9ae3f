"""The processes of one plane: started, remembered in files, found again by any process, stopped for certain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from controlplane.packages import environment

from memory_operator.local.processes import ProcessRecord, command_line, end_process, observe_process

Signals = Sequence[tuple[signal.Signals, float]]
GENTLY: Signals = ((signal.SIGCONT, 0.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
AT_ONCE: Signals = ((signal.SIGKILL, 10.0),)


@dataclass(slots=True)
class Processes:
    """Processes whose working directory is `directory`; no other process works there."""

    directory: Path
    # Those that this process started: they must be reaped, and a dropped Popen warns.
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], log: Path) -> None:
        """Start a process that outlives this one, in a session of its own so that Ctrl-C does not reach it."""
        self._reap(name)
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                cwd=self.directory,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._children[name] = child
        record = observe_process(name, child.pid)
        if record is not None:
            self._record(name).write_text(json.dumps(asdict(record)), "utf-8")

    def find(self, name: str) -> ProcessRecord | None:
        """Return the living process of this name."""
        try:
            record = ProcessRecord(**json.loads(self._record(name).read_text("utf-8")))
        except (FileNotFoundError, ValueError):
            return None
        return record if record.alive else None

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal.

        Raises:
            ProcessLookupError: it does not run.
        """
        record = self.find(name)
        if record is None:
            raise ProcessLookupError(f"{name} does not run in {self.directory}")
        os.kill(record.pid, number)

    @contextmanager
    def slowed(self, name: str, frozen: float, running: float) -> Iterator[None]:
        """Freeze a process and let it go in turns."""
        over = threading.Event()

        def take_turns() -> None:
            while not over.wait(running):
                self.send(name, signal.SIGSTOP)
                over.wait(frozen)
                self.send(name, signal.SIGCONT)

        thread = threading.Thread(target=take_turns, name=f"brake of {name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def stop(self, name: str, signals: Signals = GENTLY) -> None:
        """End a process, also a frozen one; when it returns the process is gone."""
        record = self.find(name)
        if record is not None and not end_process(record, signals):
            raise RuntimeError(f"{name} (pid {record.pid}) survived SIGKILL")
        self._reap(name)
        self._record(name).unlink(missing_ok=True)

    def stop_strays(self, programs: Collection[str]) -> None:
        """End processes of these programs that no file remembers: their starter was killed a moment too early."""
        for record in list(self._strays(programs)):
            end_process(record, AT_ONCE)

    def _strays(self, programs: Collection[str]) -> Iterator[ProcessRecord]:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                place = (entry / "cwd").readlink()
            except OSError:
                continue
            pid = int(entry.name)
            program = Path((command_line(pid) or [""])[0]).name
            if (
                place.is_relative_to(self.directory)
                and program in programs
                and (record := observe_process(program, pid))
            ):
                yield record

    def _record(self, name: str) -> Path:
        return self.directory / f"{name}.pid"

    def _reap(self, name: str) -> None:
        if child := self._children.pop(name, None):
            child.wait(10)
