"""Real Kafka brokers, one of each kind a session.

Needs Java 17, openssl for TLS, and Maven the first time. Where they are missing the tests are skipped and say so; where
the environment names CI they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from kafka.broker import KafkaBroker
from kafka.certificates import Authority, new_authority
from kafka.jars import MissingPart, find_java, kafka_jars


@pytest.fixture(scope="session")
def kafka_parts() -> None:
    """What every broker needs, or a skip."""
    try:
        find_java()
        kafka_jars()
    except MissingPart as missing:
        do_without(missing)


@pytest.fixture(scope="session")
def kafka_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for the brokers that speak TLS."""
    try:
        return new_authority(tmp_path_factory.mktemp("authority"))
    except MissingPart as missing:
        do_without(missing)


@pytest.fixture(scope="session")
def kafka_plain(kafka_parts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker without TLS, without logins: everyone may do everything."""
    with KafkaBroker(folder(tmp_path_factory)) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_tls_scram(
    kafka_parts: None, kafka_authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaBroker]:
    """A broker that asks for TLS and a SCRAM-SHA-512 login and enforces ACLs; its administrator may do everything."""
    with KafkaBroker(folder(tmp_path_factory), kafka_authority) as broker:
        yield broker


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("kafka") / "broker"


def do_without(missing: MissingPart) -> NoReturn:
    """Skip with one line that says what is missing and how to get it; a failure where nobody would read that."""
    if os.environ.get("CI"):
        pytest.fail(str(missing), pytrace=False)
    pytest.skip(f"no Kafka here: {missing}")
