"""The Qdrant provider on a test double of the server: keys, addresses, TLS, and servers that hang, stop or are full.

The double is Qdrant's own engine behind an imitation of its REST interface, which is held to answers of a real server.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from polling import until
from qdrant.certificates import self_signed
from qdrant_tenants import (
    connection_to,
    converge,
    new_tenant,
    reason_of_block,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_operator.providers.qdrant.connection import QdrantConnection


async def test_the_server_tells_its_version_and_what_it_can(qdrant_provider, qdrant_server):
    facts = await qdrant_provider.facts()

    assert facts.version == "1.18.3"
    assert facts.identity == qdrant_server.url.removeprefix("http://")
    assert facts.features == ("collection-metadata", "conditional-upsert")


async def test_a_server_that_is_too_old_for_marks_gets_nothing(connect_qdrant, start_qdrant):
    double = start_qdrant(version="1.15.5")
    server = connect_qdrant(connection_to(double))

    assert (await server.facts()).features == ()
    assert await reason_of_block(server, new_tenant()) is Reason.REJECTED
    assert double.writes() == []


@pytest.mark.parametrize("key", ["wrong-key", None], ids=["wrong", "none"])
async def test_a_wrong_key_is_told_at_once_and_not_repeated(connect_qdrant, qdrant_server, key):
    server = connect_qdrant(connection_to(qdrant_server, api_key=key))

    with pytest.raises(Rejected, match="refuses the API key") as refused:
        await server.facts()

    assert refused.value.reason is Reason.AUTHENTICATION_FAILED
    assert str(key) not in str(refused.value)


async def test_a_key_that_may_only_read_is_told_with_the_step_that_needed_more(connect_qdrant, qdrant_server):
    server = connect_qdrant(connection_to(qdrant_server, api_key=qdrant_server.read_only_key))
    tenant = new_tenant()

    with pytest.raises(Rejected, match=f"create collection {tenant.collection} .* manage access") as refused:
        await converge(server, tenant)

    assert refused.value.reason is Reason.AUTHENTICATION_FAILED


@pytest.mark.parametrize("url", ["http://no-such-host.invalid:6333", "http://127.0.0.1:1"])
async def test_a_host_that_is_not_there_is_unavailable(connect_qdrant, url):
    with pytest.raises(Unavailable, match="cannot be reached"):
        await connect_qdrant(QdrantConnection(url, "key")).facts()


async def test_a_server_that_is_no_qdrant_is_told(connect_qdrant, own_qdrant):
    # The path of the double's health check answers with text, where Qdrant's root is JSON.
    server = connect_qdrant(QdrantConnection(f"{own_qdrant.url}/healthz", own_qdrant.api_key))

    with pytest.raises(Rejected, match="does not answer as Qdrant does"):
        await server.facts()


async def test_a_server_that_hangs_is_unavailable_in_time(connect_qdrant, own_qdrant):
    server = connect_qdrant(connection_to(own_qdrant, read_seconds=0.3))
    own_qdrant.pause()
    try:
        with pytest.raises(Unavailable, match=r"does not answer within 0\.3 s"):
            await server.facts()
    finally:
        own_qdrant.resume()
    assert (await server.facts()).version


async def test_a_server_that_goes_and_comes_back_is_used_again(connect_qdrant, own_qdrant):
    server, tenant = connect_qdrant(connection_to(own_qdrant)), new_tenant()
    await converge(server, tenant)

    own_qdrant.kill()
    with pytest.raises(Unavailable):
        await converge(server, tenant)
    with pytest.raises(Unavailable):
        await server.drifted([tenant])
    own_qdrant.start()

    assert await converge(server, tenant) == []


async def test_a_full_disk_is_told_and_over_when_there_is_room(connect_qdrant, own_qdrant):
    server, tenant = connect_qdrant(connection_to(own_qdrant)), new_tenant()
    own_qdrant.refuse_writes(500, "Service internal error: No space left on device (os error 28)")

    with pytest.raises(Unavailable, match=f"create collection {tenant.collection}.*no room left") as full:
        await converge(server, tenant)
    assert full.value.reason is Reason.BACKEND_FULL

    own_qdrant.accept_writes()
    await converge(server, tenant)
    assert await converge(server, tenant) == []


async def test_many_passes_share_one_server_object(qdrant_provider):
    tenants = [new_tenant() for _ in range(20)]

    await asyncio.gather(*(converge(qdrant_provider, each) for each in tenants))

    assert await qdrant_provider.drifted(tenants) == set()


async def test_a_closed_server_object_opens_again_when_it_is_needed(qdrant_provider):
    before = await qdrant_provider.facts()
    await qdrant_provider.close()

    assert await until(qdrant_provider.facts) == before


async def test_a_server_whose_authority_is_trusted_is_used_over_tls(connect_qdrant, start_qdrant, qdrant_certificate):
    double = start_qdrant(certificate=qdrant_certificate)
    server = connect_qdrant(connection_to(double, ca_certificates=qdrant_certificate.read_text()))

    assert double.url.startswith("https://")
    assert (await server.facts()).version
    assert await converge(server, new_tenant())


async def test_a_server_that_nobody_vouches_for_is_not_used(
    connect_qdrant, start_qdrant, qdrant_certificate, tmp_path: Path
):
    double = start_qdrant(certificate=qdrant_certificate)
    other = self_signed(tmp_path / "other").read_text()

    for authorities in (other, None):
        with pytest.raises(Rejected, match="cannot be trusted") as refused:
            await connect_qdrant(connection_to(double, ca_certificates=authorities)).facts()
        assert refused.value.reason is Reason.TLS_FAILED
    assert double.requests() == []


async def test_a_certificate_for_another_name_is_not_accepted(connect_qdrant, start_qdrant, tmp_path: Path):
    certificate = self_signed(tmp_path / "elsewhere", name="DNS:elsewhere.example")
    double = start_qdrant(certificate=certificate)

    with pytest.raises(Rejected, match="IP address mismatch") as refused:
        await connect_qdrant(connection_to(double, ca_certificates=certificate.read_text())).facts()
    assert refused.value.reason is Reason.TLS_FAILED


async def test_https_to_a_server_without_tls_is_told(connect_qdrant, own_qdrant):
    url = own_qdrant.url.replace("http:", "https:")

    with pytest.raises(Rejected, match="no encrypted connection") as refused:
        await connect_qdrant(QdrantConnection(url, own_qdrant.api_key)).facts()
    assert refused.value.reason is Reason.TLS_FAILED


async def test_authorities_that_are_no_certificates_are_told(connect_qdrant, own_qdrant):
    url = own_qdrant.url.replace("http:", "https:")

    with pytest.raises(Rejected, match="authorities for Qdrant") as refused:
        await connect_qdrant(QdrantConnection(url, "key", ca_certificates="no PEM")).facts()
    assert refused.value.reason is Reason.TLS_FAILED
