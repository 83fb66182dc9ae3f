"""Debian packages: installed where nobody minds, named where somebody would."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from controlplane.missing import Missing, on_ci

SECONDS = 900
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def ensure(purpose: str, packages: Mapping[str, str]) -> None:
    """Make sure that each program is here; `packages` says which package has it (a program, or the path of a file).

    Packages are installed by root on CI or in a container only: nobody's own machine is changed by a test.

    Raises:
        Missing: a program is not here and may not, or could not, be installed.
    """
    absent = sorted({package for program, package in packages.items() if not _present(program)})
    if not absent:
        return
    command = f"apt-get install --no-install-recommends {' '.join(absent)}"
    if not _may_install():
        raise Missing(f"{purpose} needs Debian's {', '.join(absent)}: run `sudo {command}`, or set CI=true as root")
    _install(purpose, absent)


def search_path() -> str:
    """Return a PATH that finds what root uses, too."""
    return os.pathsep.join([*filter(None, [os.environ.get("PATH")]), "/usr/sbin", "/sbin"])


def environment() -> dict[str, str]:
    """Return our environment with that PATH."""
    return {**os.environ, "PATH": search_path()}


def _present(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=search_path()) is not None


def _may_install() -> bool:
    in_container = any(mark.exists() for mark in CONTAINER_MARKS)
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and (on_ci() or in_container)


def _install(purpose: str, packages: list[str]) -> None:
    variables = {**environment(), "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", *arguments], env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            raise Missing(
                f"{purpose} needs {', '.join(packages)}, and apt-get {arguments[0]} failed: {done.stderr.strip()}"
            )
