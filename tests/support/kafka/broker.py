"""A real Apache Kafka broker for tests: crashes, starts again on the same data, and dies with the test process."""

from __future__ import annotations

import base64
import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka.certificates import Authority
from kafka.jars import find_java, kafka_jars
from kafka.properties import ADMIN, LOG4J, MECHANISM, Tls, server_properties

from memory_operator.local.ports import is_free
from memory_operator.local.processes import tethered

START_SECONDS = 90.0
STOP_SECONDS = 30.0
ATTEMPTS = 3
JVM = (
    *("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),  # starts sooner; two cores are few
    *("-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"),
    *("-Djava.io.tmpdir=tmp", "-Dlog4j2.configurationFile=log4j2.properties"),
)
# Kafka (at least 3.9 to 4.4) can forget every SCRAM user when it starts: while it replays its log it drops the whole
# mechanism when a deleted user comes before a living one in the order of a Java HashMap. This name's hash is 0, so it
# comes first. It has a random password and no rights; leave it alone.
GUARD = "keep-me-lamfesne"


class KafkaBroker:
    """One broker in `directory`; with an `authority` it asks for TLS and SCRAM and enforces ACLs.

    Call `start` in the main thread: the kernel kills the broker when the thread that started it ends.
    """

    def __init__(
        self, directory: Path, authority: Authority | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.cluster_id = base64.urlsafe_b64encode(b"test" + secrets.token_bytes(12)).decode().rstrip("=")
        self.password = secrets.token_urlsafe(18) if authority else None
        self._authority = authority
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = (0, 0)
        self._has_data = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.purge()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port``, the same after each start."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def username(self) -> str | None:
        """The administrator; None where nobody logs in."""
        return ADMIN if self._authority else None

    @property
    def ca_file(self) -> Path | None:
        """The authority that vouches for the broker; None without TLS."""
        return self._authority.certificate if self._authority else None

    @property
    def pid(self) -> int | None:
        """Pid of the broker while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log(self) -> Path:
        """What the broker says; refused requests are lines with ``is Denied``."""
        return self.directory / "broker.log"

    def client_settings(self, **more: object) -> dict[str, object]:
        """Return the settings of a librdkafka client that is the administrator, `more` on top."""
        settings: dict[str, object] = {"bootstrap.servers": self.bootstrap_servers, "log_level": 0}
        if self._authority:
            settings |= {"security.protocol": "SASL_SSL", "ssl.ca.location": str(self.ca_file)}
            settings |= {"sasl.mechanism": MECHANISM, "sasl.username": ADMIN, "sasl.password": self.password}
        return settings | {key.replace("_", "."): value for key, value in more.items()}

    def start(self) -> None:
        """Start, on fresh data the first time; returns when the broker answers."""
        if self.pid is None:
            if self._has_data:
                self._launch()
            else:
                self._create(ATTEMPTS)

    def kill(self) -> None:
        """End the broker as a crash would: SIGKILL. The data stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the broker in order; nothing runs afterwards. The data stays."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let the broker hang: its connections stay open and nothing answers. `thaw` ends it, `kill` and `stop` too."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        # The last of its threads stops a moment after the call.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen broker go on; returns when it answers, for its own controller may have given it up meanwhile."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)
        self._wait_until_it_answers()

    def purge(self) -> None:
        """End the broker, in whatever way is quickest, and remove its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def tail(self, lines: int = 25) -> str:
        """Return the end of the log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _create(self, attempts: int) -> None:
        try:
            self._prepare()
            self._launch()
        except AssertionError:
            # Somebody may have taken a port between the choice and the start.
            if attempts == 1 or "Address already in use" not in self.tail():
                raise
            self._create(attempts - 1)
        self._has_data = True

    def _prepare(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "tmp").mkdir(parents=True)
        (self.directory / "log4j2.properties").write_text(LOG4J, encoding="ascii")
        port, controller_port = self._ports = two_free_ports()
        text = server_properties(port, controller_port, self._tls(), self._settings)
        properties = self.directory / "server.properties"
        properties.touch(0o600)
        properties.write_text(text, encoding="ascii")
        self._format()

    def _tls(self) -> Tls | None:
        if self._authority is None or self.password is None:
            return None
        return Tls(self.password, self._authority.issue("broker"), self._authority.certificate)

    def _format(self) -> None:
        users = {GUARD: secrets.token_urlsafe(18), ADMIN: self.password} if self._authority else {}
        scram = [f"--add-scram={MECHANISM}=[name={name},password={password}]" for name, password in users.items()]
        tool = ["kafka.tools.StorageTool", "format", "--config", "server.properties"]
        status = self._java(*tool, f"--cluster-id={self.cluster_id}", *scram).wait(START_SECONDS)
        assert status == 0, f"formatting the storage of the broker failed:\n{self.tail()}"

    def _launch(self) -> None:
        self._process = self._java("kafka.Kafka", "server.properties")
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run in a session of its own: Ctrl-C is for the tests, which then stop the broker."""
        command = tethered([find_java(), *JVM, *arguments], signal.SIGKILL)
        environment = {**os.environ, "CLASSPATH": f"{kafka_jars()}/*", "LC_ALL": "C.UTF-8"}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.pid, f"the broker ended while it started:\n{self.tail()}"
            assert time.monotonic() < deadline, f"the broker did not answer in {START_SECONDS} s:\n{self.tail()}"

    def _answers(self) -> bool:
        """Ask with a new client: librdkafka 2.16 stays silent once it was told that there are no brokers yet."""
        with AdminClient(self.client_settings(reconnect_backoff_max_ms=100, socket_timeout_ms=2000)) as client:
            return _answers(client)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _answers(client: AdminClient) -> bool:
    """Whether the broker lists itself and names a group's coordinator.

    The latter makes a new broker create its topic of offsets now; the first consumer would wait 3 s for it.
    """
    try:
        if not client.list_topics(timeout=0.5).brokers:
            return False
        (group,) = client.describe_consumer_groups(["a-first-look"], request_timeout=2.0).values()
        group.result(4.0)
    except TimeoutError:
        return False
    except KafkaException as error:
        return bool(error.args[0].name() == "GROUP_ID_NOT_FOUND")
    return True


def two_free_ports() -> tuple[int, int]:
    """Return two free ports below those that the kernel gives to outgoing connections (and to NodePorts).

    Otherwise a client that tries to reconnect while the broker is down could be given the broker's own port.
    """
    free = filter(is_free, random.sample(range(15000, 30000), 1000))
    return next(free), next(free)
