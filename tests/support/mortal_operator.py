"""An operator that a test lets die after the write it chooses; see ``mortality.py`` for what counts as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import psutil
from kube import Kube, eventually

from memory_operator.local.processes import tethered

LEASE = "/apis/coordination.k8s.io/v1/namespaces/memory-system/leases/memory-operator"
QUIET_SECONDS = 0.4


class MortalOperator:
    """One replica at a time, started within a moment; all of them end with the ``async with`` block."""

    def __init__(self, kubeconfig: Path, directory: Path, kube: Kube) -> None:
        self._directory = directory
        self._kube = kube
        self._after, self._journal = directory / "after", directory / "journal"
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(Path(__file__).parent)}
        self._pid = self._orders = 0

    def __enter__(self) -> Self:
        command = tethered([sys.executable, "-m", "mortality", str(self._directory)], signal.SIGKILL)
        with (self._directory / "operator.log").open("ab") as log:
            self._parent = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                text=True,
                bufsize=1,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.free_lease()
        self._parent.kill()
        self._parent.wait()
        for pipe in (self._parent.stdin, self._parent.stdout):
            assert pipe
            pipe.close()

    def start(self) -> None:
        """Start a replica, which nothing ends but `kill` until it is `doomed`."""
        assert not self.lives
        assert self._parent.stdin
        assert self._parent.stdout
        self._after.unlink(missing_ok=True)
        self.free_lease()
        self._parent.stdin.write("live\n")
        self._pid = int(self._parent.stdout.readline())

    @property
    def lives(self) -> bool:
        return self._pid != 0 and psutil.pid_exists(self._pid)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.lives:
            os.kill(self._pid, signal.SIGKILL)
        eventually(lambda: not self.lives, 10, every=0.01)

    def count(self) -> None:
        """From now on take down what it writes."""
        self.doom(0)

    def doom(self, after: int, uncounted: str = "") -> None:
        """From now on take down what it writes, and end it right after so many writes; 0: never.

        Writes with `uncounted` in their line do not count.
        """
        self._orders += 1
        self._journal.write_text("")
        new = self._directory / "after.new"
        new.write_text(f"{self._orders} {after} {uncounted}")
        new.replace(self._after)

    @property
    def writes(self) -> list[str]:
        """What it has written since."""
        return self._journal.read_text().splitlines()

    def wait_quiet(self) -> None:
        """Wait until it has written nothing for a moment."""
        if not self._after.exists():
            self.count()
        known, since = self.writes, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.05)
            if (now := self.writes) != known:
                known, since = now, time.monotonic()

    def free_lease(self) -> None:
        """Write into the Lease what would be there after it had been given back; the dead give nothing back."""
        patch = {"spec": {"holderIdentity": None, "renewTime": None}}
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self._kube.client.patch(LEASE, headers=headers, content=json.dumps(patch))
        assert answer.status_code in (200, 404), answer.text
