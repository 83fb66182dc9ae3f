"""Connections to a real server: shared, bounded, back after an outage, encrypted, and errors that say what to do."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_data import data_of
from postgres_tenants import address_of, converge, new_tenant, observe, run

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_operator.local.postgres_place import Binaries, find_binaries
from memory_operator.local.postgres_server import PostgresServer
from memory_operator.providers.postgres import pool
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.plan import plan

# The wheel's server is built without TLS; Debian's has it.
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
needs_tls = pytest.mark.skipif(
    not INSTALLED or not shutil.which("openssl"), reason="needs openssl and a Postgres with TLS: apt install postgresql"
)


async def sessions(address: PostgresAddress) -> int:
    (row,) = await run(
        address,
        "select count(*) as number from pg_stat_activity"
        f" where application_name = 'memory-operator' and datname = '{address.database}'",
    )
    return int(row["number"])


async def test_many_passes_share_a_few_connections(address):
    async with PostgresBackend(address, max_connections=3) as backend:
        tenants = [new_tenant() for _ in range(10)]

        outcomes = await asyncio.gather(*(converge(backend, tenant) for tenant in tenants))

        assert all(isinstance(outcome, list) for outcome in outcomes)
        assert 0 < await sessions(address) <= 3


async def test_connections_that_nobody_uses_go_away(address, monkeypatch, eventually):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.1)
    async with PostgresBackend(address) as backend:
        await backend.facts()
        assert await sessions(address) == 1

        async def none_left() -> bool:
            return await sessions(address) == 0

        assert await eventually(none_left)


async def test_a_closed_backend_leaves_no_connection(address, eventually):
    backend = PostgresBackend(address)
    await backend.facts()

    await backend.close()

    async def none_left() -> bool:
        return await sessions(address) == 0

    assert await eventually(none_left)
    await backend.close()


async def test_waiting_for_a_free_connection_ends(address, monkeypatch):
    monkeypatch.setattr(pool, "LEND_SECONDS", 0.2)
    async with PostgresBackend(address, max_connections=1) as backend, backend.connection():
        with pytest.raises(Unavailable, match="does not answer in time"):
            await backend.facts()


async def test_a_pass_that_is_paused_for_too_long_loses_its_transaction_and_its_lock(address, monkeypatch):
    monkeypatch.setitem(pool._SETTINGS, "idle_in_transaction_session_timeout", "200ms")
    tenant = new_tenant()
    async with PostgresBackend(address) as backend:
        with pytest.raises(Unavailable):
            async with backend.session(tenant) as session:
                steps = plan(tenant, await session.observe(tenant))
                await asyncio.sleep(0.6)
                assert isinstance(steps, list)
                await session.apply(tenant, steps)

        assert isinstance(await converge(backend, tenant), list)
        assert await converge(backend, tenant) == []


async def test_a_dry_run_shows_the_steps_and_cannot_change_anything(backend):
    tenant = new_tenant()

    steps = plan(tenant, await observe(backend, tenant))

    assert isinstance(steps, list) and steps
    with pytest.raises(Unavailable, match="read-only transaction"):
        async with backend.session(tenant, read_only=True) as session:
            await session.apply(tenant, steps)


async def test_facts_name_the_server_and_what_it_can(backend, address):
    tenant = new_tenant()
    before = await backend.facts()
    await converge(backend, tenant)

    facts = await backend.facts()

    assert int(facts.version.split(".")[0]) >= 15
    assert facts.identity.endswith(f"/{address.database}")
    assert facts.identity.split("/")[0].isdigit()
    assert set(facts.features) - set(before.features) == {"pg_trgm"}
    assert "superuser" in facts.features
    async with PostgresBackend(replace(address, host="localhost")) as other_name:
        assert (await other_name.facts()).identity == facts.identity


@pytest.mark.parametrize(
    ("change", "error", "reason", "sentence"),
    [
        ({"port": 1}, Unavailable, None, "127.0.0.1:1 cannot be reached"),
        ({"host": "no-such-host.invalid"}, Unavailable, None, "host no-such-host.invalid .* is unknown"),
        ({"password": "wrong"}, Rejected, Reason.AUTHENTICATION_FAILED, "password authentication failed"),
        ({"user": "nobody"}, Rejected, Reason.AUTHENTICATION_FAILED, "password authentication failed"),
        ({"database": "nowhere"}, Rejected, None, '"nowhere" does not exist'),
    ],
    ids=["no server", "no host", "wrong password", "no role", "no database"],
)
async def test_errors_of_the_first_contact_say_what_is_wrong(address, change, error, reason, sentence):
    async with PostgresBackend(replace(address, **change)) as backend:
        with pytest.raises(error, match=sentence) as raised:
            await backend.facts()

    assert raised.value.reason is reason
    assert address.password not in str(raised.value)


async def test_a_read_only_server_is_told_apart(backend, address):
    await run(address, f"alter database {address.database} set default_transaction_read_only to on")

    with pytest.raises(Unavailable) as raised:
        await converge(backend, new_tenant())

    assert raised.value.reason is Reason.BACKEND_READ_ONLY
    assert "read-only" in (await backend.facts()).features


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of the module's own, which its tests may stop."""
    server = PostgresServer(tmp_path_factory.mktemp("fragile"), 0, find_binaries(), settings={"fsync": "off"})
    with server:
        yield server
    server.purge()


async def test_a_server_that_was_down_is_used_again(fragile):
    async with PostgresBackend(address_of(fragile.admin_url())) as backend:
        tenant = new_tenant()
        await converge(backend, tenant)
        fragile.stop()
        with pytest.raises(Unavailable):
            await converge(backend, tenant)
        fragile.start()

        assert await until_available(backend, tenant) == []


async def test_a_frozen_server_costs_a_bounded_wait_and_is_used_again(fragile, monkeypatch):
    monkeypatch.setattr(pool, "COMMAND_SECONDS", 0.5)
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.5)
    async with PostgresBackend(address_of(fragile.admin_url())) as backend:
        tenant = new_tenant()
        await converge(backend, tenant)
        found = await run(backend.address, "select pid from pg_stat_activity where pid <> pg_backend_pid()")
        assert fragile.pid
        frozen = [fragile.pid, *(row["pid"] for row in found)]
        send(signal.SIGSTOP, frozen)
        try:
            with pytest.raises(Unavailable, match="in time"):
                async with asyncio.timeout(10):
                    await converge(backend, tenant)
        finally:
            send(signal.SIGCONT, frozen)

        assert await until_available(backend, tenant) == []


def send(what: signal.Signals, processes: list[int]) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):  # some of the server's processes come and go
            os.kill(pid, what)


async def until_available(backend: PostgresBackend, tenant) -> object:
    """Idle connections that died are noticed one by one."""
    for _ in range(pool_size := 8):
        try:
            return await converge(backend, tenant)
        except Unavailable:
            await asyncio.sleep(0.2)
    raise AssertionError(f"still away after {pool_size} attempts")


# TLS


class Authority:
    """Signs certificates; its own is `certificate`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt")
        self.certificate = (folder / "ca.crt").read_text()

    def sign(self, name: str, alternative: str, *validity: str) -> Path:
        """Make ``<name>.crt`` and ``<name>.key``."""
        self._openssl(f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr")
        (self.folder / "names").write_text(f"subjectAltName={alternative}\n")
        (self.folder / "index.txt").write_text("")
        (self.folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n"
            "policy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        self._openssl(
            f"ca -batch -config ca.cnf -cert ca.crt -keyfile ca.key -in {name}.csr -out {name}.crt -extfile names "
            + (" ".join(validity) or "-days 2")
        )
        return self.folder / f"{name}.crt"

    def _openssl(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[PostgresServer]:
    """A server that speaks TLS, with a certificate for 127.0.0.1."""
    server = PostgresServer(tmp_path_factory.mktemp("tls"), 0, Binaries(INSTALLED[-1]), settings={"fsync": "off"})
    server.start()
    server.stop()
    with (data_of(server.directory) / "postgresql.conf").open("a") as settings:
        settings.write("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n")
    show(server, authority.sign("server", "IP:127.0.0.1"))
    with server:
        yield server
    server.purge()


def show(server: PostgresServer, certificate: Path) -> None:
    """Give the server this certificate; certificate and key lie in its data, where its account can read them."""
    data = data_of(server.directory)
    for suffix in (".crt", ".key"):
        copy = Path(shutil.copy(certificate.with_suffix(suffix), data / f"server{suffix}"))
        copy.chmod(0o600)
        os.chown(copy, data.stat().st_uid, data.stat().st_gid)


@pytest.fixture
def tls_address(tls_server: PostgresServer) -> PostgresAddress:
    return address_of(tls_server.admin_url())


@needs_tls
@pytest.mark.parametrize(
    ("mode", "with_authority", "encrypted"),
    [
        ("disable", False, False),
        ("prefer", False, True),
        ("require", False, True),
        ("require", True, True),
        ("verify-ca", True, True),
        ("verify-full", True, True),
    ],
)
async def test_each_mode_encrypts_as_it_promises(tls_address, authority, mode, with_authority, encrypted):
    given = authority.certificate if with_authority else None
    async with PostgresBackend(replace(tls_address, ssl_mode=mode, ca_certificates=given)) as backend:
        assert isinstance(await converge(backend, new_tenant()), list)
        async with backend.connection() as connection:
            assert await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()") is encrypted


@needs_tls
@pytest.mark.parametrize(
    ("mode", "refused"), [("require", True), ("verify-ca", True), ("verify-full", True), ("prefer", False)]
)
async def test_a_server_that_nobody_vouches_for_is_refused(tls_address, tmp_path, mode, refused):
    stranger = Authority(tmp_path).certificate

    async with PostgresBackend(replace(tls_address, ssl_mode=mode, ca_certificates=stranger)) as backend:
        if not refused:
            await backend.facts()
            return
        with pytest.raises(Rejected, match="does not prove who it is") as raised:
            await backend.facts()

    assert raised.value.reason is Reason.TLS_FAILED


@needs_tls
async def test_without_authorities_those_of_the_system_count(tls_address):
    async with PostgresBackend(replace(tls_address, ssl_mode="verify-full")) as backend:
        with pytest.raises(Rejected, match="does not prove who it is"):
            await backend.facts()


@needs_tls
@pytest.mark.parametrize(("mode", "refused"), [("verify-full", True), ("verify-ca", False)])
async def test_the_name_counts_with_verify_full_only(tls_address, authority, mode, refused):
    elsewhere = replace(tls_address, host="localhost", ssl_mode=mode, ca_certificates=authority.certificate)
    async with PostgresBackend(elsewhere) as backend:
        if not refused:
            await backend.facts()
            return
        with pytest.raises(Rejected, match=r"does not prove who it is.*localhost") as raised:
            await backend.facts()

    assert raised.value.reason is Reason.TLS_FAILED


@needs_tls
async def test_an_expired_certificate_is_named(tls_server, tls_address, authority):
    show(
        tls_server,
        authority.sign("late", "IP:127.0.0.1", "-startdate", "20200101000000Z", "-enddate", "20200102000000Z"),
    )
    try:
        await run(tls_address, "select pg_reload_conf()")
        await asyncio.sleep(0.3)
        strict = replace(tls_address, ssl_mode="verify-full", ca_certificates=authority.certificate)
        async with PostgresBackend(strict) as backend:
            with pytest.raises(Rejected, match="certificate has expired") as raised:
                await backend.facts()
    finally:
        show(tls_server, authority.folder / "server.crt")
        await run(tls_address, "select pg_reload_conf()")

    assert raised.value.reason is Reason.TLS_FAILED


async def test_authorities_that_are_no_certificates_are_rejected(address):
    strict = replace(address, ssl_mode="verify-full", ca_certificates="not a certificate")
    async with PostgresBackend(strict) as backend:
        with pytest.raises(Rejected, match="no certificates in PEM") as raised:
            await backend.facts()

    assert raised.value.reason is Reason.TLS_FAILED


async def test_a_server_without_tls_is_told_apart(fragile, authority):
    if fragile._binaries.wheel is None:
        pytest.skip("this Postgres may have TLS")
    address = replace(address_of(fragile.admin_url()), ssl_mode="require")
    async with PostgresBackend(address) as backend:
        with pytest.raises(Rejected, match="speaks no TLS") as raised:
            await backend.facts()

    assert raised.value.reason is Reason.TLS_FAILED
