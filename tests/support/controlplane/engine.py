"""A Docker engine for building images: the one that answers already, else one of our own, stopped by its last user."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from controlplane import packages
from controlplane.binaries import cache
from controlplane.guard import start_guard
from controlplane.missing import Missing
from controlplane.remains import unmount

from memory_operator.local.processes import ProcessRecord, end_process, observe_process

PACKAGES = {"docker": "docker.io", "dockerd": "docker.io"}
START_SECONDS = 60.0
STOP = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0))


def place() -> Path:
    """Return the folder of our own engine; its images stay there between runs."""
    return cache() / "docker"


@contextmanager
def engine() -> Iterator[str]:
    """Provide a Docker engine; the value is its DOCKER_HOST.

    Our own engine has no bridge and leaves the firewall alone: what runs in it uses the machine's network.

    Raises:
        Missing: no engine answers, and none can be started here.
    """
    given = os.environ.get("DOCKER_HOST", "")
    if answers(given):
        yield given
        return
    packages.ensure("building images", PACKAGES)
    if os.geteuid() != 0:
        raise Missing("building images needs a Docker engine: start one, or set DOCKER_HOST (root can start its own)")
    place().mkdir(parents=True, exist_ok=True)
    guard = start_guard("engine", place())
    try:
        with (place() / "users.lock").open("a") as users:
            _join(users)
            yield own_host()
    finally:
        stop_if_unused()
        guard.kill()
        guard.wait()


def own_host() -> str:
    """Return the DOCKER_HOST of our own engine."""
    return f"unix://{place() / 'docker.sock'}"


def answers(host: str) -> bool:
    """Whether an engine listens on `host`; empty means where Docker looks by itself."""
    variables = {**os.environ, "DOCKER_HOST": host} if host else dict(os.environ)
    try:
        done = subprocess.run(["docker", "info"], env=variables, capture_output=True, timeout=20, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def stop_if_unused() -> None:
    """Stop our own engine unless another process still uses it."""
    with _one_at_a_time(), (place() / "users.lock").open("a") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        record = _find()
        if record is not None:
            end_process(record, STOP)
            unmount(place() / "run")


def _join(users: IO[str]) -> None:
    with _one_at_a_time():
        fcntl.flock(users, fcntl.LOCK_SH)
        if _find() is None:
            _start()
        _wait()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with (place() / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find() -> ProcessRecord | None:
    try:
        record = ProcessRecord(**json.loads((place() / "engine.json").read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return None
    return record if record.alive else None


def _start() -> None:
    folder = place()
    # What a killed engine left of itself would keep the next one from starting.
    for stale in (folder / "dockerd.pid", folder / "docker.sock", folder / "run/containerd/containerd.pid"):
        stale.unlink(missing_ok=True)
    command = ["dockerd", f"--host={own_host()}", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'run'}"]
    alone = [f"--pidfile={folder / 'dockerd.pid'}", "--bridge=none", "--iptables=false", "--ip-forward=false"]
    with (folder / "dockerd.log").open("wb") as log:
        child = subprocess.Popen(
            [*command, *alone],
            cwd=folder,
            env=packages.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = observe_process("dockerd", child.pid)
    if record is not None:
        (folder / "engine.json").write_text(json.dumps(asdict(record)), "utf-8")
    child.returncode = 0  # it may outlive us, or be stopped by another process: nobody waits for it here


def _wait() -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(own_host()):
        if _find() is None or time.monotonic() > deadline:
            log = place() / "dockerd.log"
            end = log.read_text("utf-8", errors="replace")[-2000:]
            raise Missing(f"a Docker engine could not be started; its log ({log}) ends with:\n{end}")
        time.sleep(0.1)
