"""The Kafka client when the cluster is away, or does not want it: a reason in bounded time, and the way back."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from kafka.broker import KafkaBroker
from kafka.certificates import new_authority
from kafka.tenants import BACKEND, DictLedger, connection_to, new_tenant, stem
from kafka.world import KafkaWorld

from memory_contracts.conditions import Reason
from memory_contracts.errors import PlatformError, Rejected, Unavailable
from memory_operator.providers.kafka.client import KafkaClient
from memory_operator.providers.kafka.connection import KafkaConnection, Sasl
from memory_operator.providers.kafka.plan import TopicStep, plan
from memory_operator.providers.kafka.topics import DesiredTopics, ObservedTopics

PATIENCE = 3.0


@pytest.fixture
def connection(kafka_tls_scram: KafkaBroker) -> KafkaConnection:
    return connection_to(kafka_tls_scram, PATIENCE)


@pytest.fixture
def plain(kafka_plain: KafkaBroker) -> KafkaConnection:
    return connection_to(kafka_plain, PATIENCE)


async def failure(connection: KafkaConnection) -> PlatformError:
    """What a look at the cluster ends with, in bounded time."""
    async with asyncio.timeout(PATIENCE + 5), KafkaClient(connection) as client:
        with pytest.raises(PlatformError) as failed:
            await client.facts()
    return failed.value


def of(user: str, password: str, connection: KafkaConnection) -> KafkaConnection:
    return replace(connection, sasl=Sasl("SCRAM-SHA-512", user, password))


@contextmanager
def tls_listener(certificate: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """Something that shows `certificate` and speaks no Kafka: a client that checks never gets so far."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server((host, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(peer, server_side=True).close()
                except OSError:
                    peer.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{host}:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def test_a_wrong_password_is_refused_by_name_and_never_shown(connection):
    error = await failure(of("admin", "not-the-horse", connection))

    assert type(error) is Rejected
    assert error.reason is Reason.AUTHENTICATION_FAILED
    assert "refuses the login of admin (SCRAM-SHA-512)" in error.detail
    assert "not-the-horse" not in error.detail


async def test_a_mechanism_that_the_broker_does_not_offer_is_refused(connection):
    assert connection.sasl
    error = await failure(replace(connection, sasl=replace(connection.sasl, mechanism="PLAIN")))

    assert error.reason is Reason.AUTHENTICATION_FAILED
    assert "SCRAM-SHA-512" in error.detail


async def test_a_password_that_is_put_right_in_kafka_is_found_by_the_same_client(
    kafka_tls_scram, connection, eventually
):
    user, world = f"user-{uuid4().hex[:8]}", KafkaWorld(kafka_tls_scram)
    world.set_password(user, "the-first")

    async with KafkaClient(of(user, "the-second", connection)) as client:
        with pytest.raises(Rejected):
            await client.observe(new_tenant(), frozenset())
        world.set_password(user, "the-second")

        async def welcome() -> bool:
            try:
                await client.facts()
            except Rejected as error:
                return error.reason is not Reason.AUTHENTICATION_FAILED
            return True

        assert await eventually(welcome)


async def test_a_user_without_rights_is_told_which_it_needs(kafka_tls_scram, connection):
    user = f"user-{uuid4().hex[:8]}"
    KafkaWorld(kafka_tls_scram).set_password(user, "a-password")
    tenant = new_tenant()
    ledger = DictLedger(tenant.tenant)

    async with KafkaClient(of(user, "a-password", connection)) as client:
        with pytest.raises(Rejected, match="the operator's user needs Create, Delete"):
            await client.apply(tenant, plan_from_nothing(tenant), ledger, BACKEND)

    assert KafkaWorld(kafka_tls_scram).partitions(stem(tenant)) == {}


@pytest.mark.parametrize("servers", ["no-such-host.invalid:9092", "127.0.0.1:1"], ids=["unknown host", "closed port"])
async def test_a_cluster_that_is_nowhere_is_unavailable(servers, capfd):
    error = await failure(KafkaConnection(servers, request_seconds=PATIENCE))

    assert type(error) is Unavailable
    assert error.reason is Reason.BACKEND_UNAVAILABLE
    assert f"Kafka at {servers} cannot be reached" in error.detail
    assert capfd.readouterr() == ("", "")


async def test_other_tasks_go_on_while_a_cluster_is_away():
    look = asyncio.create_task(failure(KafkaConnection("127.0.0.1:1", request_seconds=PATIENCE)))

    turns = 0
    while not look.done():
        await asyncio.sleep(0.01)
        turns += 1

    assert turns > 20  # of 300 on a quiet machine


async def test_an_authority_that_did_not_sign_is_not_believed(connection, tmp_path):
    other = new_authority(tmp_path)

    error = await failure(replace(connection, ca_certificates=other.certificate.read_text()))

    assert type(error) is Unavailable
    assert error.reason is Reason.TLS_FAILED
    assert "certificate verify failed" in error.detail


async def test_the_systems_authorities_did_not_sign_either(connection):
    assert (await failure(replace(connection, ca_certificates=None))).reason is Reason.TLS_FAILED


@pytest.mark.parametrize(("days", "host"), [(-1, "127.0.0.1"), (2, "127.0.0.2")], ids=["expired", "of another address"])
async def test_a_certificate_that_is_not_valid_here_is_refused(connection, tmp_path, days, host):
    authority = new_authority(tmp_path)
    with tls_listener(authority.issue("listener", days), host) as servers:
        trusting = replace(connection, bootstrap_servers=servers, ca_certificates=authority.certificate.read_text())
        error = await failure(trusting)

    assert error.reason is Reason.TLS_FAILED


async def test_a_broken_certificate_in_the_spec_is_rejected(connection):
    error = await failure(replace(connection, ca_certificates="rubbish"))

    assert type(error) is Rejected
    assert error.reason is Reason.TLS_FAILED
    assert "not in PEM format" in error.detail


async def test_speaking_plainly_to_a_tls_listener_points_at_the_settings(connection):
    error = await failure(replace(connection, tls=False))

    assert type(error) is Unavailable
    assert "expects TLS and a login as the spec says" in error.detail


async def test_speaking_tls_to_a_plain_listener_points_at_the_settings(connection, plain):
    error = await failure(replace(connection, bootstrap_servers=plain.bootstrap_servers))

    assert type(error) is Unavailable
    assert "expects TLS and a login as the spec says" in error.detail


async def test_a_killed_broker_is_unavailable_and_found_again_by_the_same_client(kafka_plain, plain, capfd):
    tenant = new_tenant()
    ledger = DictLedger(tenant.tenant)
    async with KafkaClient(plain) as client:
        await client.apply(tenant, plan_from_nothing(tenant), ledger, BACKEND)
        kafka_plain.kill()
        try:
            for _ in range(2):
                with pytest.raises(Unavailable) as away:
                    await client.observe(tenant, frozenset())
                assert away.value.reason is Reason.BACKEND_UNAVAILABLE
        finally:
            kafka_plain.start()

        observed = await client.observe(tenant, await ledger.claimed(BACKEND))

    assert plan(tenant, observed) == []
    assert capfd.readouterr() == ("", "")


async def test_requests_under_way_end_when_the_broker_is_killed(kafka_plain, plain):
    tenants = [new_tenant() for _ in range(8)]
    async with KafkaClient(plain) as client:
        kafka_plain.freeze()  # so that they are under way for certain
        looks = [asyncio.create_task(client.observe(tenant, frozenset())) for tenant in tenants]
        await asyncio.sleep(0.5)
        kafka_plain.kill()
        try:
            async with asyncio.timeout(PATIENCE + 5):
                outcomes = await asyncio.gather(*looks, return_exceptions=True)
        finally:
            kafka_plain.start()

    assert {type(outcome) for outcome in outcomes} == {Unavailable}


async def test_a_broker_that_hangs_is_unavailable(kafka_plain, plain):
    async with KafkaClient(plain) as client:
        await client.facts()
        kafka_plain.freeze()
        try:
            async with asyncio.timeout(PATIENCE + 5):
                with pytest.raises(Unavailable, match="does not answer within 3 s"):
                    await client.observe(new_tenant(), frozenset())
        finally:
            kafka_plain.thaw()
        assert await client.facts()


async def test_a_look_ends_when_the_client_is_closed(kafka_plain, plain):
    client = KafkaClient(plain)
    kafka_plain.freeze()
    try:
        async with client:
            look = asyncio.create_task(client.facts())
            await asyncio.sleep(0.2)
        with pytest.raises(Unavailable):
            await look
    finally:
        kafka_plain.thaw()
    with pytest.raises(Unavailable, match="closed"):
        await client.facts()


async def test_a_cancelled_look_leaves_the_client_usable(kafka_plain, plain):
    async with KafkaClient(plain) as client:
        kafka_plain.freeze()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.facts()
        finally:
            kafka_plain.thaw()
        assert (await client.facts()).identity == kafka_plain.cluster_id


def plan_from_nothing(tenant: DesiredTopics) -> list[TopicStep]:
    steps = plan(tenant, ObservedTopics({}, frozenset()))
    assert isinstance(steps, list)
    return steps
