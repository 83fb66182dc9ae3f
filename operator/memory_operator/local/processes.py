"""Processes of this machine: naming one for certain, asking whether it lives, ending it.

A pid alone names nothing, for it is used again; pid and start time together do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TETHER = Path(__file__).with_name("tether.py")
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process that was seen alive: `started` is its start time in the kernel's words."""

    name: str
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return start_time(self.pid) == self.started


def observe_process(name: str, pid: int) -> ProcessRecord | None:
    """Return the record of a living process, or None when there is none with this pid."""
    started = start_time(pid)
    return None if started is None else ProcessRecord(name, pid, started)


def start_time(pid: int) -> str | None:
    """Return when the process started, or None when it is gone or a zombie."""
    if sys.platform == "linux":
        return _linux_start_time(pid)
    answer = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, started = answer.partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def _linux_start_time(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # proc(5): the name in parentheses may hold anything, so fields are counted from the last ")".
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def command_line(pid: int) -> list[str]:
    """Return the arguments of a process; empty when it is gone."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            return []
    answer = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.split()


def tethered(command: Sequence[str], ending: signal.Signals, uid: int | None = None) -> list[str]:
    """Return the command that runs `command` and gets `ending` when the calling thread ends."""
    user = "-" if uid is None else str(uid)
    return [sys.executable, "-I", "-S", str(TETHER), str(int(ending)), str(os.getpid()), user, *command]


def end_process(record: ProcessRecord, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send each signal in turn, waiting its seconds, until the process is gone; True when it is."""
    for number, seconds in signals:
        if not record.alive:
            return True
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            return True
        if wait_until_gone(record, seconds):
            return True
    return not record.alive


def wait_until_gone(record: ProcessRecord, seconds: float) -> bool:
    """Wait at most `seconds` for the process to end; True when it did."""
    deadline = time.monotonic() + seconds
    while record.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
