"""The broker's ``server.properties``: one node, broker and controller; quick and small, otherwise as Kafka ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"

# Replication of the internal topics: there is one node.
ONE_NODE = """
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
"""

# What a test would wait for: rebalances, sessions of killed members, retention, return after a kill.
IMPATIENT = """
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=200
group.consumer.heartbeat.interval.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
log.cleaner.backoff.ms=1000
"""

SMALL = """
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
"""

# A producer to a misspelt topic shall fail, not make one.
STRICT = "auto.create.topics.enable=false"

LOG4J = """
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %m (%c{1})%n%throwable
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
logger.values.name = org.apache.kafka.common.config.AbstractConfig
logger.values.level = warn
"""


@dataclass(frozen=True, slots=True)
class Tls:
    """SASL_SSL with SCRAM and ACLs; without it the broker speaks PLAINTEXT and lets everyone do everything."""

    password: str = field(repr=False)
    key_and_certificate: Path
    authority: Path


def server_properties(port: int, controller_port: int, tls: Tls | None, more: Mapping[str, str]) -> str:
    """Return the file's text. Its paths are relative to the broker's working directory."""
    client, controller = ("SASL_SSL", "SASL_PLAINTEXT") if tls else ("PLAINTEXT", "PLAINTEXT")
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"{client}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"{client}://127.0.0.1:{port}",
        "listener.security.protocol.map": f"{client}:{client},CONTROLLER:{controller}",
        "inter.broker.listener.name": client,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "data",
    }
    lines |= dict(line.split("=", 1) for part in (ONE_NODE, IMPATIENT, SMALL, STRICT) for line in part.split())
    lines |= _security(tls) if tls else {}
    return "".join(f"{key}={value}\n" for key, value in (lines | dict(more)).items())


def _security(tls: Tls) -> dict[str, str]:
    modules = "org.apache.kafka.common.security"
    login = f'required username="{ADMIN}" password="{tls.password}"'
    return {
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": f"{modules}.scram.ScramLoginModule {login};",
        # SCRAM's credentials live behind the controller, so the way to the controller itself needs another mechanism.
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": (
            f'{modules}.plain.PlainLoginModule {login} user_{ADMIN}="{tls.password}";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN}",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(tls.key_and_certificate),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(tls.authority),
    }
