"""A real Postgres of one's own on 127.0.0.1: made on first start, its data kept, its port remembered."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from memory_contracts.errors import Rejected, Unavailable
from memory_operator.local.files import rotate, tail, write_private
from memory_operator.local.ports import LOOPBACK, any_free_port, is_free
from memory_operator.local.postgres_place import Binaries, Place, recorded_elsewhere, settle
from memory_operator.local.processes import (
    POLL_SECONDS,
    ProcessRecord,
    command_line,
    end_process,
    observe_process,
)

ADMIN = "postgres"
DATABASE = "soma"
START_SECONDS = 30.0
INITDB_SECONDS = 120.0
# What ends by itself: after a SIGKILL, orphaned backends hold the shared memory until they notice that they are alone;
# a port is taken between the choice and the bind.
PASSING_TROUBLES = ("shared memory block", "lock file", "could not bind")
START_ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 0.1
FAST_SHUTDOWN = (signal.SIGINT, 15.0)
IMMEDIATE_SHUTDOWN = (signal.SIGQUIT, 5.0)
KILL = (signal.SIGKILL, 5.0)
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # the path of a socket is limited to 107 bytes, the state directory's is not
    "shared_buffers": "128MB",
    "max_connections": "100",
    "log_checkpoints": "off",
    "logging_collector": "off",
}
HOST_BASED_ACCESS = "# Local mode: passwords only, from this machine only.\nhost all all 127.0.0.1/32 scram-sha-256\n"


class PostgresServer:
    """The server whose state lives in `directory`; owns the process it starts.

    `port` 0 takes the remembered port, or a free one. `log` defaults to ``directory/postgres.log``. The thread that
    calls `start` must live as long as the server: the kernel stops the server when that thread ends.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        binaries: Binaries,
        *,
        log: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.log = log or self.directory / "postgres.log"
        self._wanted_port = port
        self._binaries = binaries
        self._settings = SETTINGS | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._record: ProcessRecord | None = None
        self._port = port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The TCP port; known after the first `start`."""
        return self._port

    @property
    def pid(self) -> int | None:
        """Pid of the postmaster while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def record(self) -> ProcessRecord | None:
        """The running postmaster, named so that a later process cannot be taken for it."""
        return self._record if self.pid is not None else None

    @property
    def password(self) -> str:
        """Password of the administrator, made when first asked for."""
        file = self.directory / "password"
        if not file.is_file():
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text(encoding="utf-8").strip()

    def url(self, database: str, user: str, password: str) -> str:
        """Return the address of `database` for `user`, as libpq writes it."""
        who = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{who}@{LOOPBACK}:{self.port}/{quote(database, safe='')}"

    def admin_url(self, database: str = DATABASE) -> str:
        """Return the address of `database` for the administrator."""
        return self.url(database, ADMIN, self.password)

    def start(self) -> None:
        """Start the server, making its data first when there is none; returns when it accepts connections.

        Raises `Unavailable` with the end of the log when it does not, `Rejected` when it never can.
        """
        if self.pid is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        place = settle(self.directory, self._binaries)
        if not (place.data / "PG_VERSION").is_file():
            self._create(place)
        self._check_version(place)
        _end_leftover(place.data)
        rotate(self.log)
        self._launch_patiently(place)

    def stop(self) -> None:
        """Stop in order (fast shutdown), harder when that takes too long; nothing runs afterwards."""
        if self._process is None:
            return
        if self.record is not None:
            end_process(self.record, [FAST_SHUTDOWN, IMMEDIATE_SHUTDOWN, KILL])
        self._process.wait()
        self._process = None

    def purge(self) -> None:
        """Delete the data, also where it had to be kept outside the state directory; the server must be stopped."""
        assert self.pid is None, "stop the server before its data goes"
        purge_data(self.directory)

    def _create(self, place: Place) -> None:
        """Initialise beside the final folder and move it there at the end, so a crash leaves nothing half made."""
        data = place.data
        for leftover in data.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        fresh = data / "new"
        initdb = [str(place.binaries.initdb), "-D", str(fresh), "--username", ADMIN, "--auth=trust", "--encoding=UTF8"]
        self._run(place, [*initdb, "--locale=C.UTF-8", "--no-instructions"])
        # No server has run yet, so the trust that initdb wrote was never in force.
        access = fresh / "pg_hba.conf"
        access.write_text(HOST_BASED_ACCESS, encoding="utf-8")
        single_user = [str(place.binaries.postgres), "--single", "-D", str(fresh), "postgres"]
        # The password is token_urlsafe: no character of it needs quoting.
        self._run(place, single_user, f"alter role {ADMIN} password '{self.password}'\ncreate database {DATABASE}\n")
        for entry in fresh.iterdir():
            if entry.name != "PG_VERSION":
                entry.replace(data / entry.name)
        (fresh / "PG_VERSION").replace(data / "PG_VERSION")  # last: it says that the data is complete
        fresh.rmdir()

    def _run(self, place: Place, command: list[str], text: str = "") -> None:
        done = subprocess.run(  # noqa: S603
            place.account.command(command),
            input=text.encode(),
            capture_output=True,
            timeout=INITDB_SECONDS,
            check=False,
            cwd=place.data,
            env=_environment(),
        )
        # Single-user mode answers 0 whatever the statements did.
        if done.returncode != 0 or b"ERROR:" in done.stderr:
            raise Unavailable(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()[-500:]}")

    def _check_version(self, place: Place) -> None:
        data = (place.data / "PG_VERSION").read_text(encoding="ascii").strip()
        answer = subprocess.run(  # noqa: S603
            place.account.command([str(place.binaries.postgres), "--version"]),
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            cwd="/",
        ).stdout
        version = answer.split(")", 1)[1].split()[0] if ")" in answer else answer
        if version.split(".")[0] != data:
            raise Rejected(
                f"the data in {place.data} was made by Postgres {data}, the programs in {place.binaries.bin} are "
                f"{version}; set POSTGRES_BIN to those of {data}, or start afresh with soma down --purge"
            )

    def _choose_port(self) -> int:
        file = self.directory / "port"
        remembered = int(text) if file.is_file() and (text := file.read_text().strip()).isdigit() else 0
        port = next((each for each in (self._wanted_port, remembered) if each and is_free(each)), 0) or any_free_port()
        file.write_text(f"{port}\n", encoding="ascii")
        return port

    def _launch_patiently(self, place: Place) -> None:
        pause = FIRST_PAUSE_SECONDS
        for _ in range(START_ATTEMPTS):
            self._port = self._choose_port()
            offset = self.log.stat().st_size if self.log.exists() else 0
            if self._launch(place):
                return
            said = tail(self.log, 5, offset)
            if not any(each in said for each in PASSING_TROUBLES):
                break
            time.sleep(pause)
            pause *= 2
        raise Unavailable(f"Postgres does not start: {said}")

    def _launch(self, place: Place) -> bool:
        """Start the postmaster once; True when it accepts connections, False when it ended."""
        options = self._settings | {"port": str(self._port)}
        command = [str(place.binaries.postgres), "-D", str(place.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                place.account.command(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=place.data,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor, which stops things in order
            )
        self._record = observe_process("postgres", self._process.pid)
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None:
            if _says_ready(place.data, self._process.pid):
                return True
            if time.monotonic() > deadline:
                self.stop()
                raise Unavailable(f"Postgres did not accept connections in {START_SECONDS:.0f} s; see {self.log}")
            time.sleep(POLL_SECONDS)
        return False


def purge_data(directory: Path) -> None:
    """Delete the server of `directory`, also what had to be kept outside of it."""
    if elsewhere := recorded_elsewhere(directory):
        shutil.rmtree(elsewhere, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def _says_ready(data: Path, pid: int) -> bool:
    """Read ``postmaster.pid`` as ``pg_ctl -w`` does: the first line is the pid, the eighth the state."""
    lines = _pid_file_lines(data)
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _pid_file_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _end_leftover(data: Path) -> None:
    """End a postmaster that outlived its supervisor; remove the pid file of one that is gone.

    Postgres itself would refuse to start when the pid of the file is used again by a process of the same user.
    """
    lines = _pid_file_lines(data)
    if not lines:
        return
    leftover = observe_process("postgres", int(lines[0])) if lines[0].strip().isdigit() else None
    if leftover and str(data) in command_line(leftover.pid):
        end_process(leftover, [FAST_SHUTDOWN, IMMEDIATE_SHUTDOWN])
    else:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "TZ") if name in os.environ}
    return inherited | {"LC_ALL": "C.UTF-8"}
