"""Shell sessions of a page about Kubernetes: run on a real API server with the operator beside it.

``python tests/support/cluster_transcript.py docs/kubernetes.md …`` writes the outputs anew.

Real are the API server with its controllers, the operator as ``memory-operator run`` with its own account, Postgres,
kubectl. Pretended are the pods, by `FakeKubelet`: nobody answers on their addresses, so no page shows a memory stored
here. The page's ``sql`` blocks are executed too, and ``memory-operator`` and ``kubectl`` are on the PATH.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import yaml
from controlplane.fake_kubelet import FakeKubelet
from controlplane.kubectl import find
from controlplane.plane import ControlPlane
from operator_process import OperatorProcess
from transcript import Command, joined, run

from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

BLOCK = re.compile(r"^```(shell-session|sql)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND_SECONDS = 150
LINE = re.compile(r"(?:.*\\\n)*.*")
# After it the operator runs, which in a real cluster its Deployment would start.
INSTALL = "kubectl apply -f crds/ -f manifests/"
# What examples/cluster.yaml says, and a reader has in its place.
HOST, PASSWORD = "postgres.databases.svc.cluster.local", "change-me"
SETUP = f"""\
create role memory_admin login createrole password '{PASSWORD}';
create database soma owner memory_admin
"""


@dataclass(frozen=True)
class Sql:
    """Statements that a page tells its reader to run."""

    text: str


def actions(page: str) -> Iterator[Command | Sql]:
    """Yield the commands and statements of the page, in order."""
    for kind, block in BLOCK.findall(page):
        if kind == "sql":
            yield Sql(block)
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = joined(part).partition("\n")
            yield Command(line, output)


@dataclass
class Stage:
    """A cluster in which nothing is installed yet, a Postgres, and a folder with what a reader has."""

    folder: Path
    plane: ControlPlane
    server: PostgresServer
    operator: OperatorProcess | None = field(default=None)

    def execute(self, line: str) -> str:
        """Return what the command prints on a terminal."""
        command = line.replace('"port":5432', f'"port":{self.server.port}')
        printed = run(f"timeout {COMMAND_SECONDS} bash -c {shlex.quote(command)}", self.folder, self.environment)
        if line == INSTALL:
            account = self.plane.service_account("memory-system", "memory-operator")
            self.operator = OperatorProcess(account, self.folder.parent / "operator.log")
            self.operator.start()
        return printed.replace(f"127.0.0.1:{self.server.port}", f"{HOST}:5432").replace("127.0.0.1", HOST)

    def query(self, text: str) -> None:
        """Run statements as the administrator of the server; before there is a database soma, of the server's own."""
        asyncio.run(self._query(text))

    def prepare(self, page: str) -> None:
        """Do what the page takes for granted: the database, and all up to where team-a/research is Ready."""
        if "create role" not in page:
            self.query(SETUP)
        if INSTALL not in page:
            self._install()

    def _install(self) -> None:
        for line in (
            INSTALL,
            "kubectl apply -f examples/cluster.yaml -f examples/namespace.yaml",
            "kubectl wait memns/research -n team-a --for=condition=Ready --timeout=2m",
        ):
            self.execute(line)

    @property
    def environment(self) -> dict[str, str]:
        path = [self.folder.parent / "bin", Path(sys.executable).parent, find_binaries().bin, os.environ["PATH"]]
        return {
            "DATABASE": self.server.url("soma", "memory_admin", PASSWORD),
            "KUBECONFIG": str(self.plane.kubeconfig),
            "PAGER": "cat",
            "KUBECACHEDIR": str(self.folder.parent / "kubectl-cache"),
            "PATH": os.pathsep.join(map(str, path)),
        }

    async def _query(self, text: str) -> None:
        try:
            connection = await asyncpg.connect(self.server.admin_url("soma"))
        except asyncpg.InvalidCatalogNameError:
            connection = await asyncpg.connect(self.server.admin_url("postgres"))
        try:
            for statement in filter(str.strip, text.split(";")):  # CREATE DATABASE wants to be alone
                await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def stage(root: Path, parent: Path) -> Iterator[Stage]:
    """Set everything up; nothing runs afterwards."""
    folder = parent / "a checkout"
    for name in ("crds", "manifests", "examples"):
        shutil.copytree(root / name, folder / name)
    (parent / "bin").mkdir()
    (parent / "bin/kubectl").symlink_to(find())
    with ExitStack() as running:
        plane = running.enter_context(ControlPlane(parent / "plane"))
        plane.up()
        running.enter_context(FakeKubelet(plane))
        server = running.enter_context(PostgresServer(parent / "postgres", 0, find_binaries()))
        _point_at(folder / "examples/cluster.yaml", server.port)
        made = Stage(folder, plane, server)
        asyncio.run(_drop_default_database(server))
        try:
            yield made
        finally:
            if made.operator:
                made.operator.kill()


def comparable(output: str) -> str:
    """Replace what differs from run to run: times, ages, ids, and the width of columns that follows from them."""
    for pattern, name in (
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?", "TIME"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"\b\d+(\.\d+)?(ms|s|m)(\d+s)?\b", "AGE"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "TIME"),
        # kubectl tells of a deletion only if it saw it happen; that it waited in vain it says in other words.
        (r"^.* condition met$", ""),
        (r" from \S+ namespace$", ""),
        (r"(?<=Available )( *)\d+\.\d+", r"\1VERSION"),
        (r" +", " "),
        (r" +$", ""),
    ):
        output = re.sub(pattern, name, output, flags=re.MULTILINE)
    return output.strip("\n")


def written_anew(page: str, stage: Stage) -> str:
    """Return the page with the outputs that its commands have on the stage."""

    def fill(block: re.Match[str]) -> str:
        if block[1] == "sql":
            stage.query(block[2])
            return block[0]
        parts = re.split(r"^\$ ", block[2], flags=re.MULTILINE)[1:]
        shown = [LINE.match(part)[0] for part in parts]  # type: ignore[index]  # every part begins with a line
        outputs = ["\n".join(stage.execute(joined(line)).splitlines()) for line in shown]
        blocks = [
            f"$ {line}\n{output}\n" if output else f"$ {line}\n" for line, output in zip(shown, outputs, strict=True)
        ]
        return "```shell-session\n" + "\n".join(blocks) + "```"

    return BLOCK.sub(fill, page)


def _point_at(file: Path, port: int) -> None:
    """Do to the example what the pages tell the reader to do: name the Postgres there is, leave the others out."""
    left = []
    for each in yaml.safe_load_all(file.read_text("utf-8")):
        if each["kind"] == "MemoryCluster":
            for name in ("qdrant", "kafka", "redis"):
                del each["spec"][name]
            each["spec"]["postgres"]["external"] |= {"host": "127.0.0.1", "port": port, "tls": {"mode": "disable"}}
        if each["kind"] != "Secret" or each["metadata"]["name"] == "postgres-admin":
            left.append(each)
    file.write_text(yaml.safe_dump_all(left), "utf-8")


async def _drop_default_database(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.admin_url("postgres"))
    try:
        await connection.execute("drop database soma")
    finally:
        await connection.close()


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as parent, stage(root, Path(parent)) as made:
            text = Path(name).read_text("utf-8")
            made.prepare(text)
            Path(name).write_text(written_anew(text, made), "utf-8")
