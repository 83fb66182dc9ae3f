"""kubectl as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from controlplane.binaries import build, cached

SECONDS = 120.0


def kubectl(
    kubeconfig: Path, *arguments: str, input: str | None = None, check: bool = True, seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run kubectl and return what it said; with `check` a failure is an AssertionError that carries its words.

    Raises:
        Missing: there is no kubectl, and it cannot be compiled.
    """
    # Its cache of what the API serves would otherwise lie in $HOME, and be that of another plane on the same port.
    command = [str(find()), f"--cache-dir={kubeconfig.parent / 'kubectl-cache'}", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
    return done


def find() -> Path:
    """Return the kubectl of KUBEBUILDER_ASSETS, the PATH's, or the one compiled in the cache."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    beside = [Path(assets) / "kubectl"] if assets else []
    installed = [Path(found)] if (found := shutil.which("kubectl")) else []
    for candidate in (*beside, *installed, cached("kubectl")):
        if candidate.is_file():
            return candidate
    return build("kubectl")
