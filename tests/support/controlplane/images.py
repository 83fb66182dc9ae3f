"""Images of the project, built by Docker and packed for a node.

with engine() as host:
    base = ensure_base(host)             # pulled, or a stand-in: say which one was tested
    build(host, "operator", "memory-operator:test", context)
    plane.load(save(host, "memory-operator:test", folder / "operator.tar"))
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane.engine import engine
from controlplane.stand_in import import_stand_in

__all__ = ["BASE", "Base", "build", "engine", "ensure_base", "save"]

BASE = "python:3.11-slim-bookworm"
LABEL = "org.memory-operator.stand-in"
PULL_SECONDS = 20.0
BUILD_SECONDS = 1800.0
# Docker hands these to every RUN without the Dockerfile's knowing.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Base:
    """The base image as it is here."""

    tag: str
    is_stand_in: bool


def ensure_base(host: str, pull_seconds: float = PULL_SECONDS) -> Base:
    """Make sure that builds find the base image: the official one when it can be pulled, else a stand-in.

    Raises:
        Missing: neither can be had.
    """
    if _label(host) is None and not _pull(host, pull_seconds):
        print(f"{BASE} cannot be pulled; making a stand-in (once, about 90 s) …", file=sys.stderr, flush=True)
        import_stand_in(["docker", f"--host={host}"] if host else ["docker"], BASE, f"{LABEL}=true")
    return Base(BASE, is_stand_in=_label(host) == "true")


def build(host: str, target: str, tag: str, context: Path, arguments: Mapping[str, str] | None = None) -> str:
    """Build one target of the Dockerfile in `context`, on the machine's network; return the tag.

    Raises:
        RuntimeError: a step failed; the message ends with what it said.
    """
    given = {name: os.environ[name] for name in PROXIES if name in os.environ} | dict(arguments or {})
    flags = [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]
    _docker(host, "build", "--network=host", f"--target={target}", f"--tag={tag}", *flags, str(context))
    return tag


def save(host: str, tag: str, path: Path) -> Path:
    """Write an image to a file that a node can load; return the file."""
    _docker(host, "save", f"--output={path}", tag)
    return path


def _pull(host: str, seconds: float) -> bool:
    try:
        return _run(host, "pull", "--quiet", BASE, seconds=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _label(host: str) -> str | None:
    """Return the stand-in's label of the base image: empty for the official image, None when there is no image."""
    done = _run(host, "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', BASE, seconds=60)
    return done.stdout.strip() if done.returncode == 0 else None


def _docker(host: str, *arguments: str) -> None:
    done = _run(host, *arguments, seconds=BUILD_SECONDS)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-4000:]
        raise RuntimeError(f"docker {arguments[0]} failed:\n{said}")


def _run(host: str, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    return subprocess.run(
        ["docker", *arguments], env=variables, capture_output=True, text=True, timeout=seconds, check=False
    )
