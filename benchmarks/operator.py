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
import re
import statistics
import sys
import tempfile
import time
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import psutil
from controlplane.plane import ControlPlane
from operator_process import OperatorProcess

from benchmarks import report
from benchmarks.api import Api
from benchmarks.cluster import ROOT, SYSTEM, TEAM, installed
from benchmarks.crowd import (
    PATH,
    Editor,
    Lives,
    at_once,
    create,
    edit_now_and_then,
    touch_cluster,
    until,
    until_settled,
)
from benchmarks.floor import Floor
from memory_operator.local.postgres_server import PostgresServer

RESULTS = ROOT / "benchmarks/results"
MIB = 1 << 20
CYCLES_AT_ONCE = 40
LAST_REST_SECONDS = 30
# By then a replica has read all there is, as one that stands by has.
STAND_BY_SECONDS = 45


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
        async with Api(self.plane.kubeconfig) as api:
            await self.cold_and_edits(api)
            await self.requeue_all(api)
            await self.growth(api)
        async with Api(self.plane.kubeconfig) as api:
            await self.cycles(api)
            await self.failover(api)

    # --- measurements -------------------------------------------------------------------------------------------------

    async def cold_and_edits(self, api: Api) -> None:
        count = self.size(500)
        await create(api, "warm", 5)
        self.process.start()
        await until_settled(api, "warm", 5)
        before = self.requests(writes=False)
        began, latencies = time.monotonic(), list[float]()
        stop = asyncio.Event()
        editing = asyncio.create_task(edit_now_and_then(api, "warm0", latencies, stop))
        await create(api, "cold", count)
        await until_settled(api, "cold", count)
        took = time.monotonic() - began
        self.note(f"{count} namespaces, created at once, reconciled", took, "s", 30)
        stop.set()
        await editing
        self.note("edit acknowledged meanwhile, p50", statistics.median(latencies), "s")
        self.note("edit acknowledged meanwhile, slowest", max(latencies), "s", 1)
        self.note(f"RSS at {count}", self.rss(), "MiB", 150)
        self.note("processor time of the operator, a namespace", self.cpu() / count * 1000, "ms")
        self.note("requests to the API server, a namespace", (self.requests(writes=False) - before) / count, "")
        least = await self.floor(api, count)
        self.note(f"the same requests and SQL for {count}, without an operator", least, "s")
        self.note("times this floor", took / least, "")

    async def floor(self, api: Api, count: int) -> float:
        """Return how long the same takes without the operator, which does not run meanwhile."""
        status = (await api.send("GET", f"{PATH}/warm0"))["status"]
        self.process.stop()
        seconds = await Floor(api, self.postgres, status).seconds(count)
        self.process.start()
        return seconds

    async def requeue_all(self, api: Api) -> None:
        count = self.size(2000)
        await create(api, "more", count - self.size(500))
        await until_settled(api, "more", count - self.size(500))
        self.note(f"RSS at {count}", self.rss(), "MiB")
        await self.quiet()
        before = self.requests(writes=True)
        began, passes = time.monotonic(), self.passes()
        await touch_cluster(api)
        await until(lambda: self.passes() - passes >= count and self.is_idle())
        self.note(f"requeue of all {count} converged", time.monotonic() - began, "s", 11)
        self.note("writes it caused", self.requests(writes=True) - before, "")
        self.process.stop()
        began = time.monotonic()
        self.process.start(wait=False)
        await until(lambda: self.passes() >= count, 600)
        self.note(f"restart until all {count} were looked at", time.monotonic() - began, "s")

    async def growth(self, api: Api) -> None:
        count, before = self.size(5000), self.size(2000)
        await create(api, "many", count - before)
        await until_settled(api, "many", count - before, seconds=1200)
        self.note(f"RSS at {count}", self.rss(), "MiB", 256)

    async def cycles(self, api: Api) -> None:
        count = self.size(1000)
        for provisioned, what in ((False, "create-and-delete cycles"), (True, "cycles of create, provision, delete")):
            began = time.monotonic()
            async with Lives(api) as lives:
                work = [partial(lives.cycle, f"cycle{n}", provisioned=provisioned) for n in range(count)]
                await at_once(work, CYCLES_AT_ONCE)
            self.note(f"{count} {what}", time.monotonic() - began, "s", 60)
            self.note("schemas, roles and claims left", await self.left_in_the_end("cycle"), "", 0)

    async def failover(self, api: Api) -> None:
        second = self.new_process("second")
        second.start()
        try:
            await asyncio.sleep(STAND_BY_SECONDS)
            self.process.kill()
            began = time.monotonic()
            async with aclosing(Editor(api, "warm0")) as editor:
                await editor.edit("error")
            self.note(
                f"leader of {self.size(5000)} killed → an edit is acknowledged by the other replica",
                time.monotonic() - began,
                "s",
                20,
            )
        finally:
            second.kill()

    # --- looking ------------------------------------------------------------------------------------------------------

    def cpu(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def passes(self) -> float:
        """How many passes over MemoryNamespaces have ended."""
        return sum(value for labels, value in self.metric("reconcile_total") if 'kind="MemoryNamespace"' in labels)

    def requests(self, *, writes: bool) -> float:
        """How many requests the API server has got about anything but the MemoryCluster and the lease."""
        return sum(
            value
            for labels, value in self.metric("kubernetes_requests_total")
            if not re.search('kind="(MemoryCluster|Lease)"', labels) and not (writes and 'verb="GET"' in labels)
        )

    def metric(self, name: str) -> list[tuple[str, float]]:
        """Labels and value of each line of one of the operator's own metrics."""
        try:
            text = self.process.get("/metrics").text
        except (httpx.TransportError, StopIteration):
            return []
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(f"memory_operator_{name}{{")]
        return [(labels, float(value)) for labels, value in lines]

    def is_idle(self) -> bool:
        """Whether nothing can be worked on. Without pods nobody gets Ready, and each is looked at now and then."""
        return all(value == 0 for labels, value in self.metric("queue_depth") if 'state="ready"' in labels)

    async def quiet(self) -> None:
        """Wait until it has written nothing for a while; Events are posted one after the other."""
        before = -1.0
        while before != (now := self.requests(writes=True)):
            before = now
            await asyncio.sleep(3)

    async def left_in_the_end(self, name: str) -> float:
        """Count what is left; of an object that went while it was being made the rest goes a moment later."""
        for _ in range(LAST_REST_SECONDS):
            if not await self.left_in_postgres(name):
                break
            await asyncio.sleep(1)
        return await self.left_in_postgres(name)

    async def left_in_postgres(self, name: str) -> float:
        connection = await asyncpg.connect(self.postgres.admin_url())
        try:
            pattern = f"mem_team_a_{name}%"
            schemas = await connection.fetchval("select count(*) from pg_namespace where nspname like $1", pattern)
            roles = await connection.fetchval("select count(*) from pg_roles where rolname like $1", pattern)
            claims = await connection.fetchval(
                "select count(*) from memory_operator.tenants where tenant like $1", f"{TEAM}/{name}%"
            )
            return float(schemas + roles + claims)
        finally:
            await connection.close()

    async def postgres_version(self) -> str:
        connection = await asyncpg.connect(self.postgres.admin_url())
        try:
            return str(await connection.fetchval("show server_version"))
        finally:
            await connection.close()


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
        installed(Path(folder)) as (plane, postgres),
    ):
        bench = Bench(plane, postgres, Path(folder), 10 if options.quick else 1)
        try:
            asyncio.run(bench.run())
        finally:
            bench.process.kill()
        version = asyncio.run(bench.postgres_version())
    facts = report.machine(version)
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
