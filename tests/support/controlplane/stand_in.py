"""A stand-in for the official image `python:3.11-slim-bookworm`, where the registry cannot be reached.

It is Debian bookworm by debootstrap with this machine's CPython 3.11 under /usr/local, where the official image has it,
and with this machine's certificates and pip configuration, so that pip works in a build as it does here. It is not the
official image: what was tested on it was not tested on that.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from controlplane import packages
from controlplane.missing import Missing
from controlplane.remains import unmount

SUITE = "bookworm"
LIBRARIES = (
    *("ca-certificates", "netbase", "tzdata", "libssl3", "libffi8", "libbz2-1.0", "liblzma5", "libsqlite3-0"),
    *("libreadline8", "zlib1g", "libncursesw6", "libuuid1", "libexpat1"),
)
UNUSED = ("lib/python3.11/test", "lib/python3.11/site-packages")
SLIMMED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")
MACHINE_FILES = ("etc/ssl/certs/ca-certificates.crt", "etc/pip.conf")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CHANGES = (
    "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    f"ENV SSL_CERT_FILE={CERTIFICATES}",
    f"ENV PIP_CERT={CERTIFICATES}",
    'CMD ["python3"]',
)
MODULES = "bz2, ctypes, lzma, pip, readline, sqlite3, ssl, uuid, zlib"
SECONDS = 900


def import_stand_in(docker: list[str], tag: str, label: str) -> None:
    """Make the stand-in and give it to the engine; about 90 seconds.

    Raises:
        Missing: a part of it is not here.
    """
    packages.ensure("a stand-in for the Python image", {"debootstrap": "debootstrap", "tar": "tar"})
    prefix = _python_prefix()
    with TemporaryDirectory(prefix="stand-in-") as folder:
        root = Path(folder, "root")
        try:
            _debian(root)
            _python(root, prefix)
            _hand_over(root, [*docker, "import", *_changes(label), "-", tag])
        finally:
            unmount(root)


def _python_prefix() -> Path:
    """Return where a CPython 3.11 lives that can be copied: not the distribution's, which is spread over /usr."""
    for program in (sys.executable, shutil.which("python3.11")):
        if program is None:
            continue
        question = "import sys; print(sys.version_info[:2] == (3, 11) and sys.base_prefix)"
        prefix = subprocess.run([program, "-c", question], capture_output=True, text=True, timeout=30, check=False)
        if (found := prefix.stdout.strip()) not in {"", "False", "/usr"}:
            return Path(found)
    raise Missing(
        "the registry cannot be reached, and a stand-in for the Python image needs a CPython 3.11 outside /usr"
    )


def _debian(root: Path) -> None:
    _run("debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", SUITE, str(root))
    for folder in SLIMMED:
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    for name in MACHINE_FILES:
        if Path("/", name).exists():
            shutil.copy(Path("/", name), root / name)


def _python(root: Path, prefix: Path) -> None:
    local = root / "usr/local"
    for part in ("bin", "include", "lib"):
        shutil.copytree(prefix / part, local / part, symlinks=True, dirs_exist_ok=True, ignore=_ignored(prefix))
    (local / "lib/python3.11/site-packages").mkdir()
    for name in ("python", "python3"):
        (local / "bin" / name).unlink(missing_ok=True)
        (local / "bin" / name).symlink_to("python3.11")
    # Scripts that came along name an interpreter of this machine; pip is installed anew.
    for script in (local / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and b"python" in _first_line(script):
            script.unlink()
    steps = f"ldconfig; python3 -m ensurepip --default-pip && python3 -c 'import {MODULES}'"
    _run("chroot", str(root), "env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-ec", steps)


def _ignored(prefix: Path) -> Callable[[str, list[str]], list[str]]:
    unused = {prefix / each for each in UNUSED}
    return lambda folder, names: [
        each for each in names if each in {"__pycache__", "libpython3.11.a"} or Path(folder, each) in unused
    ]


def _first_line(script: Path) -> bytes:
    with script.open("rb") as file:
        return file.readline(200) if file.read(2) == b"#!" else b""


def _changes(label: str) -> list[str]:
    return [part for change in (*CHANGES, f"LABEL {label}") for part in ("--change", change)]


def _hand_over(root: Path, command: list[str]) -> None:
    with subprocess.Popen(["tar", "-C", str(root), "-cf", "-", "."], stdout=subprocess.PIPE) as packing:
        done = subprocess.run(
            command, stdin=packing.stdout, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    if done.returncode or packing.returncode:
        raise Missing(f"the engine did not take the stand-in for the Python image: {done.stderr.strip()}")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, env=packages.environment(), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} took more than {SECONDS} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise Missing(f"a stand-in for the Python image could not be made, {command[0]} says: {said}")
