"""The operator on a real Kubernetes API: how fast many namespaces converge, and what the process costs.

Usage: ``make bench-operator``, or ``PYTHONPATH=tests/support python -m benchmarks.operator [--quick] [--output FILE]``:
the control plane and the process are those of the tests. Brings up etcd and an API server (no nodes: pods are
not part of it), a Postgres with its durable defaults and the operator as a process of its own, prints the table, writes
JSON, and leaves nothing behind. About twelve minutes; ``--quick`` takes a tenth of the sizes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil
from controlplane.plane import ControlPlane
from kube import Kube
from operator_process import OperatorProcess

from benchmarks import report
from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
SYSTEM, TEAM = "memory-system", "team-a"
PATH = f"/apis/memory.somafractal.io/v1alpha1/namespaces/{TEAM}/memorynamespaces"
RESULTS = ROOT / "benchmarks/results"
CLIENTS = 20
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the table; `reach` is what it is held against, with the comparison."""

    what: str
    value: float
    unit: str
    reach: float | None = None

    @property
    def met(self) -> str:
        if self.reach is None:
            return ""
        return "yes" if self.value <= self.reach else "no"


class Bench:
    """One operator on one API server and one database."""

    def __init__(self, plane: ControlPlane, postgres: PostgresServer, folder: Path, scale: int) -> None:
        self.plane = plane
        self.postgres = postgres
        self.folder = folder
        self.scale = scale
        self.lines: list[Line] = []
        self.process = self.new_process("operator")

    def new_process(self, name: str) -> OperatorProcess:
        account = self.plane.service_account(SYSTEM, "memory-operator")
        return OperatorProcess(account, self.folder / f"{name}.log")

    def size(self, full: int) -> int:
        return max(full // self.scale, 20)

    def note(self, what: str, value: float, unit: str, reach: float | None = None) -> None:
        self.lines.append(Line(what, value, unit, reach))
        print(f"  {what}: {value:,.2f} {unit}", file=sys.stderr, flush=True)

    def rss(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / MIB

    async def run(self) -> None:
        async with self.client() as client:
            await self.cold_and_edits(client)
            await self.requeue_all(client)
            await self.growth(client)
        async with self.client() as client:
            await self.cycles(client)
            await self.failover(client)

    # --- measurements -------------------------------------------------------------------------------------------------

    async def cold_and_edits(self, client: httpx.AsyncClient) -> None:
        count = self.size(500)
        await create(client, "warm", 5)
        self.process.start()
        await until_settled(client, "warm", 5)
        began, latencies = time.monotonic(), list[float]()
        stop = asyncio.Event()
        editing = asyncio.create_task(edit_now_and_then(client, "warm0", latencies, stop))
        await create(client, "cold", count)
        await until_settled(client, "cold", count)
        self.note(f"{count} namespaces, created at once, reconciled", time.monotonic() - began, "s", 30)
        stop.set()
        await editing
        self.note("edit acknowledged meanwhile, p50", statistics.median(latencies), "s")
        self.note("edit acknowledged meanwhile, slowest", max(latencies), "s", 1)
        self.note(f"RSS at {count}", self.rss(), "MiB", 150)
        self.note(f"processor time a namespace at {count}", self.cpu() / count * 1000, "ms")

    async def requeue_all(self, client: httpx.AsyncClient) -> None:
        count = self.size(2000)
        await create(client, "more", count - self.size(500))
        await until_settled(client, "more", count - self.size(500))
        self.note(f"RSS at {count}", self.rss(), "MiB")
        position = self.plane.audit_position()
        began, passes = time.monotonic(), self.passes()
        await touch_cluster(client)
        await until(lambda: self.passes() - passes >= count)
        self.note(f"requeue of all {count} converged", time.monotonic() - began, "s", 11)
        self.note("writes it caused", float(len(self.writes(position))), "")
        self.process.stop()
        began = time.monotonic()
        self.process.start(wait=False)
        await until(lambda: self.passes() >= count, 600)
        self.note(f"restart until all {count} were looked at", time.monotonic() - began, "s")

    async def growth(self, client: httpx.AsyncClient) -> None:
        count, before = self.size(5000), self.size(2000)
        await create(client, "many", count - before)
        await until_settled(client, "many", count - before, seconds=1200)
        self.note(f"RSS at {count}", self.rss(), "MiB", 256)

    async def cycles(self, client: httpx.AsyncClient) -> None:
        count = self.size(1000)
        began = time.monotonic()
        await at_once([lambda n=n: cycle(client, f"cycle{n}") for n in range(count)])
        self.note(f"{count} create-and-delete cycles", time.monotonic() - began, "s", 60)
        self.note("schemas and roles left", await self.left("cycle"), "", 0)

    async def failover(self, client: httpx.AsyncClient) -> None:
        second = self.new_process("second")
        second.start()
        try:
            self.process.kill()
            began = time.monotonic()
            await acknowledged(client, "warm0", "error")
            self.note("leader killed → an edit is acknowledged by the other replica", time.monotonic() - began, "s", 20)
        finally:
            second.kill()

    # --- looking ------------------------------------------------------------------------------------------------------

    def cpu(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def passes(self) -> float:
        """How many passes over MemoryNamespaces have ended, by the operator's own metrics."""
        try:
            text = self.process.get("/metrics").text
        except (httpx.TransportError, StopIteration):
            return 0
        wanted = 'memory_operator_reconcile_total{kind="MemoryNamespace"'
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(wanted))

    def writes(self, since: int) -> list[Any]:
        user = f"system:serviceaccount:{SYSTEM}:memory-operator"
        found = self.plane.audit_events(user=user, since=since)
        return [each for each in found if each.resource not in ("leases", "memoryclusters")]

    async def left(self, name: str) -> float:
        connection = await asyncpg.connect(self.postgres.admin_url())
        try:
            pattern = f"mem_team_a_{name}%"
            schemas = await connection.fetchval("select count(*) from pg_namespace where nspname like $1", pattern)
            roles = await connection.fetchval("select count(*) from pg_roles where rolname like $1", pattern)
            return float(schemas + roles)
        finally:
            await connection.close()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        with self.plane.client() as plain:
            headers, base, context = plain.headers, plain.base_url, plain._transport._pool._ssl_context
        async with httpx.AsyncClient(
            base_url=base, headers=headers, verify=context, timeout=60, trust_env=False
        ) as own:
            yield own


async def create(client: httpx.AsyncClient, prefix: str, count: int) -> None:
    async def one(number: int) -> None:
        answer = await client.post(PATH, json=namespace(f"{prefix}{number}"))
        answer.raise_for_status()

    await at_once([lambda n=n: one(n) for n in range(count)])


async def at_once(work: list[Callable[[], Awaitable[None]]]) -> None:
    gate = asyncio.Semaphore(CLIENTS)

    async def passed(each: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await each()

    await asyncio.gather(*[passed(each) for each in work])


def namespace(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryNamespace",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {
            "clusterRef": {"namespace": SYSTEM},
            "deletion": {"policy": "Delete", "acknowledgeDataLoss": True},
        },
    }


async def until_settled(client: httpx.AsyncClient, prefix: str, count: int, seconds: float = 600) -> None:
    """Wait until schema and children of all exist; pods are not part of it."""
    deadline = time.monotonic() + seconds
    while True:
        items = (await client.get(PATH)).raise_for_status().json()["items"]
        mine = [each for each in items if each["metadata"]["name"].startswith(prefix)]
        done = [each for each in mine if "api" in each.get("status", {}) and schema_ready(each)]
        if len(done) == count:
            return
        assert time.monotonic() < deadline, f"{len(done)} of {count} after {seconds} s"
        await asyncio.sleep(0.5)


def schema_ready(item: dict[str, Any]) -> bool:
    return any(each["type"] == "SchemaReady" and each["status"] == "True" for each in item["status"]["conditions"])


async def acknowledged(client: httpx.AsyncClient, name: str, level: str) -> None:
    """Edit, and wait until the operator has dealt with it."""
    patch = {"spec": {"api": {"logLevel": level}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = await client.patch(f"{PATH}/{name}", content=json.dumps(patch), headers=headers)
    wanted = answer.raise_for_status().json()["metadata"]["generation"]
    while True:
        status = (await client.get(f"{PATH}/{name}")).json().get("status", {})
        if status.get("observedGeneration") == wanted:
            return
        await asyncio.sleep(0.02)


async def edit_now_and_then(client: httpx.AsyncClient, name: str, latencies: list[float], stop: asyncio.Event) -> None:
    levels = ("debug", "info")
    while not stop.is_set() or not latencies:
        began = time.monotonic()
        await acknowledged(client, name, levels[len(latencies) % 2])
        latencies.append(time.monotonic() - began)
        await asyncio.sleep(0.5)


async def cycle(client: httpx.AsyncClient, name: str) -> None:
    (await client.post(PATH, json=namespace(name))).raise_for_status()
    (await client.delete(f"{PATH}/{name}")).raise_for_status()
    while (await client.get(f"{PATH}/{name}")).status_code != 404:  # noqa: ASYNC110 - the server cannot be awaited
        await asyncio.sleep(0.1)


async def touch_cluster(client: httpx.AsyncClient) -> None:
    """Change the MemoryCluster, so that everything that depends on it is looked at."""
    path = f"/apis/memory.somafractal.io/v1alpha1/namespaces/{SYSTEM}/memoryclusters/default"
    patch = json.dumps({"spec": {"resync": {"interval": "9m"}}})
    headers = {"Content-Type": "application/merge-patch+json"}
    (await client.patch(path, content=patch, headers=headers)).raise_for_status()


async def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.1)


def install(plane: ControlPlane, postgres: PostgresServer) -> None:
    """What a user does before the first namespace."""
    address = urlsplit(postgres.admin_url())
    with plane.client() as client:
        kube = Kube(client, plane.kubeconfig)
        for file in (
            *sorted((ROOT / "crds").glob("*.yaml")),
            ROOT / "manifests/namespace.yaml",
            ROOT / "manifests/rbac.yaml",
        ):
            kube.apply(file.read_text("utf-8"))
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}})
        login = {"username": address.username, "password": address.password}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": SYSTEM, "name": "postgres-admin"}}
        kube.apply(secret | {"stringData": login})
        while client.get("/apis/memory.somafractal.io/v1alpha1/memoryclusters").status_code != 200:
            time.sleep(0.1)
        kube.apply(memory_cluster(address.hostname or "", address.port or 0))


def memory_cluster(host: str, port: int) -> dict[str, Any]:
    external = {
        "host": host,
        "port": port,
        "tls": {"mode": "disable"},
        "adminSecretRef": {"name": "postgres-admin"},
    }
    return {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryCluster",
        "metadata": {"namespace": SYSTEM, "name": "default"},
        "spec": {
            "allowedNamespaces": {"from": "All"},
            "resync": {"interval": "10m"},
            "postgres": {"external": external},
        },
    }


@contextmanager
def stage(folder: Path, scale: int) -> Iterator[Bench]:
    server = PostgresServer(folder / "postgres", 0, find_binaries(), settings={"max_connections": "100"})
    with server, ControlPlane(folder / "plane") as plane:
        plane.up(bare=True, audit=True)
        install(plane, server)
        bench = Bench(plane, server, folder, scale)
        try:
            yield bench
        finally:
            bench.process.kill()


def render(lines: list[Line]) -> str:
    rows = ["| what | measured | reach | met |", "| --- | --- | --- | --- |"]
    for line in lines:
        reach = "" if line.reach is None else f"≤ {line.reach:g} {line.unit}".rstrip()
        rows.append(f"| {line.what} | {line.value:,.2f} {line.unit} | {reach} | {line.met} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operator", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/operator.json)")
    options = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="memory-benchmark-") as folder,
        stage(Path(folder), 10 if options.quick else 1) as bench,
    ):
        asyncio.run(bench.run())
    facts = report.machine("18")
    print(render(bench.lines))
    output = options.output or RESULTS / ("operator-quick.tmp.json" if options.quick else "operator.json")
    content = {
        "machine": facts,
        "seconds": round(time.monotonic() - began),
        "figures": [asdict(each) for each in bench.lines],
    }
    output.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
