"""One client of librdkafka: how it is set up, how it closes, and the one request that it answers only by blocking."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from memory_operator.providers.kafka.connection import KafkaConnection

CLOSE_SECONDS = 5.0


class Driver:
    """An open client; `hear` gets the errors of its connections. Raises `KafkaException` for settings it cannot use.

    Opening blocks for as long as it takes to read the system's authorities.
    """

    def __init__(self, connection: KafkaConnection, hear: Callable[[KafkaError], None]) -> None:
        self.client = AdminClient(_settings(connection) | {"error_cb": hear})
        self._in_use = threading.Lock()
        self._closed = False

    def listen(self) -> None:
        """Take in the errors that the driver has kept for us."""
        self.client.poll(0)

    def cluster_id(self, seconds: float) -> str | None:
        """Return the cluster's id, None while it knows none; blocks, for that is how the driver lists topics.

        `describe_cluster` would not, but when a broker that has just started answers it that there is no broker,
        librdkafka 2.16 ends the process (an assertion in `rd_kafka_admin_response_parse`).
        """
        with self._in_use:
            if self._closed:
                raise KafkaException(KafkaError(KafkaError._DESTROY, "the client was closed"))
            return self.client.list_topics(timeout=seconds).cluster_id

    async def close(self) -> None:
        """Wait for the driver's threads to end, but not for ever: one that hangs must not keep this process alive."""
        thread = threading.Thread(target=self._close, daemon=True)
        thread.start()
        deadline = time.monotonic() + CLOSE_SECONDS
        while thread.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - a thread's end is no event
            await asyncio.sleep(0.01)

    def _close(self) -> None:
        # The driver would free its memory under a thread that still lists topics.
        with self._in_use:
            self._closed = True
            self.client.__exit__(None, None, None)


def _settings(connection: KafkaConnection) -> dict[str, Any]:
    sasl = connection.sasl
    settings: dict[str, Any] = {
        "bootstrap.servers": connection.bootstrap_servers,
        "client.id": "memory-operator",
        "security.protocol": ("SASL_" if sasl else "") + ("SSL" if connection.tls else "PLAINTEXT"),
        "socket.connection.setup.timeout.ms": int(connection.connect_seconds * 1000),
        "reconnect.backoff.max.ms": 1000,  # a broker that is back is to be noticed within a request's time
        "log_level": 0,  # it would write to stderr what `error_cb` hears
    }
    if sasl:
        settings |= {"sasl.mechanism": sasl.mechanism, "sasl.username": sasl.username, "sasl.password": sasl.password}
    if connection.ca_certificates is not None:
        settings["ssl.ca.pem"] = connection.ca_certificates
    return settings
