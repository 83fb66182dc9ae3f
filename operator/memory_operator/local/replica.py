"""One replica of a workload: a process that is started, probed, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from memory_operator.local.files import rotate, tail
from memory_operator.local.ports import LOOPBACK
from memory_operator.local.probe import answers
from memory_operator.local.processes import ProcessRecord, observe_process, tethered

# A process that was ready this long has proved itself: its next end is a new story.
HEALTHY_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0
PROBE_INTERVAL_SECONDS, FIRST_PROBE_INTERVAL_SECONDS = 1.0, 0.1
# A process that ended this often without becoming ready will not be helped by another start.
HOPELESS_FAILURES = 3
LAST_LINES = 100
# The last two say where OpenSSL finds the authorities that this machine trusts.
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """What one process is started with, and how long it is given to stop."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    readiness_path: str
    stop_seconds: float

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"


def pause_after(failures: int) -> float:
    """Return the seconds to wait before the next start, after this many ends in a row."""
    return float(min(FIRST_PAUSE_SECONDS * 2**failures, LONGEST_PAUSE_SECONDS))


def last_words(text: str, code: int) -> str:
    """Return why a process ended, by what it wrote: its last line of level critical or error.

    Without such a line it is the last line of all, unless a signal ended the process (`code` < 0): then that line is
    about something else. A line that is a JSON object with a ``message`` is that message.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    events = [_parsed(line) for line in lines]
    for level in ("critical", "error"):
        for event in reversed(events):
            if event.get("level") == level:
                return str(event["message"])
    return str(events[-1]["message"]) if events and code >= 0 else ""


def _parsed(line: str) -> dict[str, object]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "message" in event else {"message": line}


class Replica:
    """Runs one process until it is told to stop. `changed` is called whenever something to be seen has changed."""

    def __init__(self, spec: ReplicaSpec, log: Path, directory: Path, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.record: ProcessRecord | None = None
        self.ready = False
        self.failures = 0
        self.problem = ""
        self.launching = False
        self._log = log
        self._directory = directory
        self._changed = changed
        self._ready_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def holds_port(self) -> bool:
        """Whether its own process has the port, or is just about to take it."""
        return self.launching or (self.record is not None and self.record.alive)

    def start(self) -> None:
        """Begin to run; returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"replica {self.spec.name}")

    async def stop(self) -> None:
        """End the process, gently first, and for good; returns when it is gone."""
        if self._task is None:
            return
        if not self._stopping:  # a second cancellation would interrupt the first one's waiting for the process
            self._stopping = True
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            rotate(self._log)
            offset = self._log.stat().st_size if self._log.exists() else 0
            try:
                code = await self._run_once()
            except Exception as error:  # no memory for another process, or our own mistake: seen, and tried again
                logger.exception("cannot run", extra={"event": "replica.failed", "replica": self.spec.name})
                self._note_end(f"cannot be run: {error!r}", "")
            else:
                self._note_end(_how(code), last_words(tail(self._log, LAST_LINES, offset), code))
            await asyncio.sleep(pause_after(self.failures))

    async def _run_once(self) -> int:
        """Start the process and return its exit code when it has ended."""
        process = await self._launch()
        probing = asyncio.create_task(self._probe_for_ever(), name=f"probe {self.spec.name}")
        try:
            return await process.wait()
        finally:
            probing.cancel()
            self.ready = False
            await _end(process, self.spec.stop_seconds)
            self.record = None

    async def _launch(self) -> Process:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        # The folder of the state must not be searched for modules.
        environment = inherited | {"PYTHONSAFEPATH": "1"} | dict(self.spec.environment)
        self.launching = True
        try:
            with self._log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *tethered(self.spec.command, signal.SIGTERM),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=self._directory,
                    start_new_session=True,
                )
            self.record = observe_process(self.spec.name, process.pid)
        finally:
            self.launching = False
        self._ready_since = None
        logger.info(
            "process started", extra={"event": "process.started", "replica": self.spec.name, "pid": process.pid}
        )
        self._changed()
        return process

    async def _probe_for_ever(self) -> None:
        while True:
            ready = await answers(self.spec.port, self.spec.readiness_path)
            if ready != self.ready:
                self._note_readiness(ready)
            seen_ready = self._ready_since is not None
            await asyncio.sleep(PROBE_INTERVAL_SECONDS if seen_ready else FIRST_PROBE_INTERVAL_SECONDS)

    def _note_readiness(self, ready: bool) -> None:
        self.ready = ready
        self.problem = "" if ready else f"{self.spec.name} no longer answers {self.spec.readiness_path}"
        if ready and self._ready_since is None:
            self._ready_since = asyncio.get_running_loop().time()
        self._changed()

    def _note_end(self, how: str, words: str) -> None:
        now = asyncio.get_running_loop().time()
        proved = self._ready_since is not None and now - self._ready_since >= HEALTHY_SECONDS
        self.failures = 0 if proved else self.failures + 1
        self.problem = f"{self.spec.name} {how}" + (f": {words}" if words else "")
        logger.warning(self.problem, extra={"event": "process.ended", "replica": self.spec.name})
        self._changed()


def _how(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


async def _end(process: Process, seconds: float) -> None:
    """End the process if it still runs, then whatever it left behind in its process group."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            logger.warning("process does not stop, killing it", extra={"event": "process.killed", "pid": process.pid})
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
