"""The database down, slow, frozen, full or closed: a 503 in time, never a 2xx that is not true, and back by itself."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil
import pytest

from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

TIMEOUT = 1.0
# What a busy machine may add to the database timeout.
SLACK = 2.5
QUICK = {"POSTGRES_TIMEOUT_SECONDS": str(TIMEOUT)}


def body(coord, text="a memory"):
    return {"coord": coord, "payload": {"text": text}}


def assert_later(answer, assert_problem):
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1


async def timed(request):
    started = time.monotonic()
    answer = await request
    return answer, time.monotonic() - started


async def ready(client):
    return (await client.get("/readyz")).status_code == 200


async def stores(client, coord=(0, 0)):
    return (await client.post("/store", json=body(list(coord)))).status_code == 200


async def agrees_with_the_rows(api, client):
    """Whether the index of the process holds exactly the live rows."""
    (row,) = await api.rows("select count(*) from memories where deleted_at is null")
    return (await client.get("/stats")).json()["memories"] == row[0]


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stop every process of the server, as a host that hangs does."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGCONT)


async def test_started_without_a_database_it_becomes_ready_when_that_comes(
    own_postgres, starter, eventually, assert_problem
):
    own_postgres.stop()
    api = starter.start(own_postgres.admin_url(), **QUICK)
    async with api.client() as client:

        async def alive():
            try:
                return (await client.get("/healthz")).status_code == 200
            except OSError:
                return False
            except Exception:  # the port is not open yet
                return False

        await eventually(alive)
        readiness = await client.get("/readyz")
        assert readiness.status_code == 503
        assert readiness.json()["parts"]["database"]["ok"] is False
        assert readiness.json()["parts"]["memories"]["ok"] is False
        assert_later(await client.post("/store", json=body([1])), assert_problem)
        assert_later(await client.post("/recall", json={"query": "x"}), assert_problem)
        assert_later(await client.get("/memories/1"), assert_problem)
        own_postgres.start()
        await eventually(lambda: ready(client))
        assert await stores(client)


class Load:
    """Writers that note what was acknowledged, and every other answer."""

    def __init__(self, client, coordinates=16):
        self.client, self.coordinates = client, coordinates
        self.acknowledged: dict[tuple[float, float], int] = {}
        self.refused: list[tuple[int, str | None]] = []
        self.slowest = 0.0
        self._stop = asyncio.Event()

    async def _write(self, writer):
        number = 0
        while not self._stop.is_set():
            number += 1
            coord = (float(writer), float(number % self.coordinates))
            headers = {"Idempotency-Key": f"{writer}-{number}"} if number % 3 == 0 else {}
            answer, took = await timed(
                self.client.post("/store", json=body(list(coord), f"{writer} {number}"), headers=headers)
            )
            self.slowest = max(self.slowest, took)
            if answer.status_code == 200:
                self.acknowledged[coord] = answer.json()["version"]
            else:
                self.refused.append((answer.status_code, answer.headers.get("retry-after")))
                await asyncio.sleep(0.02)

    async def __aenter__(self):
        self._writers = [asyncio.create_task(self._write(writer)) for writer in range(6)]
        return self

    async def __aexit__(self, *_):
        self._stop.set()
        await asyncio.gather(*self._writers)

    async def assert_everything_is_there(self, api):
        rows = await api.rows("select coord, version, deleted_at from memories")
        held = {tuple(row["coord"]): row["version"] for row in rows}
        assert len(held) == len(rows)
        assert {coord for coord, version in self.acknowledged.items() if held.get(coord, 0) < version} == set()
        assert {status for status, _ in self.refused} <= {503, 409}
        assert all(retry for status, retry in self.refused if status == 503)


async def test_a_restart_of_the_database_under_load_loses_nothing_that_was_acknowledged(
    own_postgres, starter, eventually
):
    """Regression: `ok` was answered while the database was down and nothing was stored."""
    api = starter.serve(own_postgres.admin_url(), **QUICK)
    async with api.client() as client, Load(client) as load:
        for _ in range(2):
            before = len(load.acknowledged), len(load.refused)
            await eventually(lambda: len(load.acknowledged) >= 20)
            own_postgres.stop()
            await eventually(lambda before=before: len(load.refused) > before[1] + 10)
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            own_postgres.start()
            load.acknowledged_at_return = dict(load.acknowledged)
            await eventually(lambda: load.acknowledged != load.acknowledged_at_return, 15)
        await eventually(lambda: ready(client))
    async with api.client() as client:
        await load.assert_everything_is_there(api)
        assert load.slowest < TIMEOUT + SLACK
        await eventually(lambda: agrees_with_the_rows(api, client), 15)
    assert "request failed" not in api.logged


def starts_of(server) -> int:
    """How often it has begun to serve; it does so again by itself after a crash of one of its processes."""
    return server.log.read_text("utf-8").count("ready to accept connections")


async def test_a_crash_of_the_database_under_load_loses_nothing_that_was_acknowledged(
    own_postgres, starter, eventually
):
    """One backend killed: Postgres ends all the others and recovers from its log."""
    api = starter.serve(own_postgres.admin_url(), **QUICK)
    async with api.client() as client, Load(client) as load:
        for _ in range(2):
            await eventually(lambda: len(load.acknowledged) >= 20)
            seen, starts = len(load.refused), starts_of(own_postgres)
            (backend,) = await api.rows(
                "select pid from pg_stat_activity where application_name like 'memory %' order by random() limit 1"
            )
            os.kill(backend["pid"], signal.SIGKILL)
            await eventually(lambda seen=seen: len(load.refused) > seen)
            await eventually(lambda starts=starts: starts_of(own_postgres) > starts, 15)
            at_return = dict(load.acknowledged)
            await eventually(lambda at_return=at_return: load.acknowledged != at_return, 15)
    async with api.client() as client:
        await load.assert_everything_is_there(api)
        await eventually(lambda: agrees_with_the_rows(api, client), 15)
    assert "request failed" not in api.logged


async def test_a_frozen_database_is_answered_in_time_and_come_back_to(
    own_postgres, starter, eventually, assert_problem
):
    api = starter.serve(own_postgres.admin_url(), **QUICK)
    async with api.client() as client:
        token = (await client.post("/store", json=body([1], "known before"))).json()["token"]
        assert (await client.post("/recall", json={"query": "known", "token": token})).json()["matches"]
        items = [body([2, n], f"item {n}") for n in range(1_500)]
        with frozen(own_postgres):
            requests = {
                "store": client.post("/store", json=body([3])),
                "keyed store": client.post("/store", json=body([4]), headers={"Idempotency-Key": "frozen"}),
                "bulk": client.post("/store_bulk", json={"items": items}),
                "remember": client.post("/remember", json={"text": "frozen"}),
                "delete": client.delete("/memories/1"),
                "get": client.get("/memories/1"),
                "recall": client.post("/recall", json={"query": "known"}),
                "classic": client.post("/recall", json={"query": "known", "scoring": "classic"}),
                "filtered": client.post("/recall", json={"query": "known", "filters": {"a": 1}}),
                "later token": client.post("/recall", json={"query": "known", "token": "t1-fffffff"}),
                # More of them than there are connections: some wait for one in vain.
                **{f"crowd {n}": client.post("/store", json=body([5, n])) for n in range(20)},
            }
            running = {name: asyncio.create_task(timed(request)) for name, request in requests.items()}
            for _ in range(5):
                answer, took = await timed(client.get("/healthz"))
                assert answer.status_code == 200
                assert took < SLACK
                await asyncio.sleep(0.1)
            answer, took = await timed(client.get("/readyz"))
            assert answer.status_code == 503
            assert took < 2 + SLACK
            for name, task in running.items():
                answer, took = await task
                assert answer.status_code == 503, (name, answer.text)
                assert_later(answer, assert_problem)
                # A token is waited for up to the consistency timeout of 2 s.
                assert took < (2 if name == "later token" else TIMEOUT) + SLACK, (name, took)
            answer, took = await timed(client.post("/store", json=body([6])))
            assert_later(answer, assert_problem)
            assert took < TIMEOUT + SLACK
        await eventually(lambda: stores(client, [7, 0]), 15)
        await eventually(lambda: ready(client), 15)
        await eventually(lambda: agrees_with_the_rows(api, client), 15)
        # A write that was answered 503 may have happened or not, but only ever as a whole.
        (row,) = await api.rows("select count(*) from memories where coord[1] = 2")
        assert row[0] in (0, 1_500)
    assert "request failed" not in api.logged


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "once"}], ids=["one statement", "a transaction"])
async def test_a_database_that_freezes_in_the_middle_of_a_write_is_answered_in_time(
    own_postgres, starter, eventually, assert_problem, headers
):
    """A rollback must not be waited for either."""
    timeout = 3.0
    api = starter.serve(own_postgres.admin_url(), POSTGRES_TIMEOUT_SECONDS=str(timeout))
    async with api.client() as client, api.connect() as connection:
        stored = (await client.post("/store", json=body([1]))).json()
        waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'memory %'"
        async with connection.transaction():
            await connection.execute("select 1 from memories where id = $1::uuid for update", stored["id"])
            request = asyncio.create_task(timed(client.post("/store", json=body([1], "late"), headers=headers)))
            await eventually(lambda: api.rows(waiting))
            with frozen(own_postgres):
                answer, took = await request
            assert_later(answer, assert_problem)
            assert took < timeout * 1.6
        await eventually(lambda: stores(client), 15)
        await eventually(lambda: agrees_with_the_rows(api, client), 15)
        answer = await client.post("/store", json=body([1], "late"), headers=headers)
        assert answer.status_code == 200


async def test_a_locked_table_is_answered_in_time(own_postgres, starter, eventually, assert_problem):
    api = starter.serve(own_postgres.admin_url(), **QUICK)
    async with api.client() as client, api.connect() as connection:
        await client.post("/store", json=body([1]))
        async with connection.transaction():
            await connection.execute("lock table memories in access exclusive mode")
            crowd = [client.post("/store", json=body([2, n])) for n in range(30)]
            crowd += [client.get("/memories/1"), client.post("/recall", json={"query": "memory"})]
            for answer, took in await asyncio.gather(*map(timed, crowd)):
                assert_later(answer, assert_problem)
                assert took < TIMEOUT + SLACK
            assert (await client.get("/healthz")).status_code == 200
        await eventually(lambda: stores(client), 15)
        await eventually(lambda: agrees_with_the_rows(api, client), 15)
        # Nothing that timed out goes on in the database behind everybody's back.
        active = "select count(*) from pg_stat_activity where state = 'active' and application_name like 'memory %'"
        await eventually(lambda: _is_zero(connection, active), 15)


async def _is_zero(connection, query):
    return await connection.fetchval(query) == 0


async def test_a_statement_that_times_out_in_the_database_is_unavailable(own_postgres, starter, assert_problem):
    api = starter.serve(own_postgres.admin_url(), **QUICK)
    async with api.client() as client, api.connect() as connection:
        stored = (await client.post("/store", json=body([1]))).json()
        async with connection.transaction():
            await connection.execute("select 1 from memories where id = $1::uuid for update", stored["id"])
            answer, took = await timed(client.post("/store", json=body([1], "blocked by a row")))
            assert_later(answer, assert_problem)
            assert took < TIMEOUT + SLACK
            assert await stores(client, [2, 2])
        answer = await client.post("/store", json=body([1], "free again"))
        assert answer.status_code == 200


class Account:
    """A role without privileges beyond its own schema, whose limits the test sets."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.role = f"app_{uuid4().hex[:8]}"

    async def execute(self, *statements):
        connection = await asyncpg.connect(self.server.admin_url())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def url(self, password):
        return self.server.url("soma", self.role, password)


@pytest.fixture
async def account(own_postgres):
    made = Account(own_postgres)
    await made.execute(
        f"create role {made.role} login password 'right'", f"grant create on database soma to {made.role}"
    )
    return made


async def test_exhausted_connections_are_answered_with_later(account, starter, eventually):
    await account.execute(f"alter role {account.role} connection limit 4")
    api = starter.serve(account.url("right"), **QUICK)
    async with api.client() as client:
        answers = await asyncio.gather(*(client.post("/store", json=body([1, n])) for n in range(60)))
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {200, 503}
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
        api.environment["POSTGRES_URL"] = account.server.admin_url()
        rows = await api.rows("select coord from memories")
        durable = {tuple(row["coord"]) for row in rows}
        assert {tuple(answer.json()["coord"]) for answer in answers if answer.status_code == 200} <= durable
        await account.execute(f"alter role {account.role} connection limit -1")
        for number in range(3):
            await eventually(lambda number=number: stores(client, [2, number]))
        answers = await asyncio.gather(*(client.post("/store", json=body([3, n])) for n in range(40)))
        assert {answer.status_code for answer in answers} == {200}


async def test_a_start_without_a_free_connection_waits_for_one(account, starter, eventually):
    await account.execute(f"alter role {account.role} connection limit 0")
    api = starter.start(account.url("right"), **QUICK)
    await eventually(lambda: "too many connections" in api.logged)
    assert api.process.poll() is None
    await account.execute(f"alter role {account.role} connection limit -1")
    api.wait_until_ready()


async def test_a_wrong_password_is_reported_and_works_once_corrected(account, starter, eventually):
    api = starter.start(account.url("mistyped"), **QUICK)
    await eventually(lambda: "password authentication failed" in api.logged)
    async with api.client() as client:
        readiness = await client.get("/readyz")
        assert readiness.status_code == 503
        assert "password authentication failed" in readiness.json()["parts"]["database"]["detail"]
        assert "mistyped" not in api.logged + readiness.text
        await account.execute(f"alter role {account.role} password 'mistyped'")
        api.wait_until_ready()
        assert await stores(client)


async def test_a_read_only_database_refuses_writes_and_goes_on_recalling(
    own_postgres, starter, eventually, assert_problem
):
    api = starter.serve(own_postgres.admin_url(), **QUICK)
    everybody = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'memory %'"
    async with api.client() as client, api.connect() as connection:
        await client.post("/store", json=body([1], "read me"))
        await connection.execute("alter database soma set default_transaction_read_only = on")
        try:
            await connection.execute(everybody)

            async def read_only():
                answer = await client.post("/store", json=body([2]))
                return answer.status_code == 503 and "read-only" in answer.json()["detail"]

            await eventually(read_only)
            assert_later(await client.post("/store", json=body([2])), assert_problem)
            assert_later(await client.delete("/memories/1"), assert_problem)
            (hit,) = (await client.post("/recall", json={"query": "read"})).json()["matches"]
            assert hit["coord"] == [1.0]
        finally:
            await connection.execute("alter database soma reset default_transaction_read_only")
        await connection.execute(everybody)
        await eventually(lambda: stores(client, [2, 0]))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB; it goes after the server that writes to it."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "none", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def postgres_on_small_disk(small_disk: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path / "postgres", 0, find_binaries(), settings={"shared_buffers": "16MB"})
    with server:
        yield server
    server.purge()


async def test_a_full_disk_refuses_writes_loses_nothing_and_goes_on_once_there_is_room(
    postgres_on_small_disk, small_disk, starter, eventually
):
    server = postgres_on_small_disk
    space = small_disk / "tablespace"
    space.mkdir()
    owner = psutil.Process(server.pid).uids().real
    os.chown(space, owner, owner)
    connection = await asyncpg.connect(server.admin_url())
    await connection.execute(f"create tablespace small location '{space}'")
    await connection.execute("alter database soma set default_tablespace = small")
    await connection.close()
    api = starter.serve(server.admin_url())
    async with api.client() as client:
        acknowledged, refused = set(), []
        for number in range(400):
            text = os.urandom(30_000).hex()
            answer = await client.post("/store", json=body([1, number], text))
            if answer.status_code == 200:
                acknowledged.add((1.0, float(number)))
            else:
                refused.append(answer)
            if len(refused) >= 5:
                break
        assert len(refused) >= 5, "the disk did not fill"
        for answer in refused:
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            assert "No space left" in answer.json()["detail"]
        rows = {tuple(row["coord"]) for row in await api.rows("select coord from memories")}
        assert rows == acknowledged
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/memories/1,0")).status_code == 200
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        await eventually(lambda: stores(client))
        await eventually(lambda: agrees_with_the_rows(api, client), 15)
