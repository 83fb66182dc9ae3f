"""Images without an engine: a few files packed as `docker save` would."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.missing import Missing

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def static_program(source: str, target: Path) -> Path:
    """Compile a C program that needs no library beside it.

    Raises:
        Missing: there is no C compiler, or no static C library.
    """
    command = ["gcc", "-static", "-Os", "-s", "-x", "c", "-o", str(target), "-"]
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise Missing("an image without an engine needs gcc: apt-get install gcc libc6-dev") from None
    if done.returncode:
        raise Missing(f"gcc could not make {target.name} (is libc6-dev installed?): {done.stderr.strip()}")
    return target


def write_archive(target: Path, tag: str, programs: Sequence[Path], entrypoint: str) -> Path:
    """Write an image of one layer with these programs in its root."""
    layer = _tar({program.name: program.read_bytes() for program in programs}, mode=0o755)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [entrypoint]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    parts = {"layer.tar": layer, "config.json": _json(config), "manifest.json": _json(manifest)}
    target.write_bytes(_tar(parts, mode=0o644))
    return target


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _tar(files: Mapping[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
