"""A process beside the tests that clears away what a killed owner left: a plane, an engine.

A signal at the parent's death (prctl(2), PR_SET_PDEATHSIG) would reach single processes only, not pods, mounts and
directories, and comes when the starting *thread* ends, which a test's thread pool does early.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

POLL_SECONDS = 0.2


def start_guard(kind: str, place: Path) -> subprocess.Popen[bytes]:
    """Let a new process clear away the ``plane`` or ``engine`` in `place` when this one is gone.

    The caller ends it after having cleared away itself.
    """
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "controlplane.guard", kind, str(place), str(os.getpid())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends the tests' session must not end their guard
    )


def main(kind: str, place: str, owner: str) -> None:
    """Wait until the parent is another one than `owner`, because that died; then clear away."""
    while os.getppid() == int(owner):
        time.sleep(POLL_SECONDS)
    # Imported only now: nearly always the guard is ended before it is needed, and it should cost nothing until then.
    if kind == "plane":
        from controlplane.plane import ControlPlane

        ControlPlane(Path(place)).purge()
    else:
        from controlplane.engine import stop_if_unused

        stop_if_unused()


if __name__ == "__main__":
    main(*sys.argv[1:])
