"""What pods leave on a machine when everything that looked after them is stopped at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
POD_GROUP = "kubepods"
LOG_LINKS = Path("/var/log/containers")
CNI_RESULTS = Path("/var/lib/cni/results")
KILL_SECONDS = 10.0


def pods_present() -> bool:
    """Whether pods of any Kubernetes run on this machine."""
    return next(_pod_processes(), None) is not None


def kill_pods() -> None:
    """SIGKILL every process of every pod, and wait until they are gone."""
    deadline = time.monotonic() + KILL_SECONDS
    while processes := list(_pod_processes()):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes of pods survived SIGKILL: {processes}")
        time.sleep(0.05)


def clear(state: Path, network: str) -> None:
    """Remove mounts below the plane's directory, containerd's run-time state, control groups and links."""
    unmount(state.parent)
    _remove_shim_sockets(state)
    shutil.rmtree(state, ignore_errors=True)
    _remove_groups()
    _remove_links(state.parent)
    _remove_results(network)
    for emptied in (LOG_LINKS, CNI_RESULTS, CNI_RESULTS.parent):
        with contextlib.suppress(OSError):
            emptied.rmdir()


def unmount(directory: Path) -> None:
    """Unmount everything below a directory, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    for mount in reversed([each for each in mounts if Path(each).is_relative_to(directory)]):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True, timeout=30)


def _pod_groups() -> Iterator[Path]:
    """Yield the group of all pods in each hierarchy: one with cgroup v2, one a controller with v1."""
    for place in (CGROUPS, *CGROUPS.glob("*/")):
        if (place / POD_GROUP).is_dir():
            yield place / POD_GROUP


def _pod_processes() -> Iterator[int]:
    for group in _pod_groups():
        for file in group.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                yield from map(int, file.read_text("ascii").split())


def _remove_groups() -> None:
    for group in _pod_groups():
        inner = [each for each in group.rglob("*") if each.is_dir()]
        for each in (*sorted(inner, reverse=True), group):
            with contextlib.suppress(OSError):
                each.rmdir()


def _remove_shim_sockets(state: Path) -> None:
    """A shim's socket lies outside its bundle; the bundle says where."""
    for address in state.glob("io.containerd.runtime.v2.task/*/*/address"):
        Path(address.read_text("utf-8").strip().removeprefix("unix://")).unlink(missing_ok=True)


def _remove_results(network: str) -> None:
    """CNI remembers each interface it made, also the loopback one that has the pod's id but not our network's name."""
    for result in list(CNI_RESULTS.glob(f"{network}-*")):
        pod = result.name.removeprefix(f"{network}-").partition("-")[0]
        for each in CNI_RESULTS.glob(f"*-{pod}-*"):
            each.unlink(missing_ok=True)


def _remove_links(directory: Path) -> None:
    """The kubelet links logs into a folder that it does not let one choose."""
    for link in LOG_LINKS.glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(directory):
            link.unlink()
