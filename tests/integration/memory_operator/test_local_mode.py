"""`soma up` and its sisters as a user runs them: real commands, the real API, a folder with a space in its name."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
import pytest
from soma_command import eventually

from memory_contracts.naming import TenantNames
from memory_operator.local.ports import any_free_port

MAIN = "import sys; from memory_runtime.cli import main; sys.argv[0] = 'soma'; main()"


@dataclass
class Folder:
    """A working directory in which `soma` is run."""

    path: Path
    port: int

    def soma(self, *arguments: str, code: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-c", MAIN, *arguments],
            cwd=self.path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert code is None or done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def write(self, name: str = "namespace.yaml", metadata_name: str = "research", **spec: object) -> None:
        body = {
            "apiVersion": "memory.somafractal.io/v1alpha1",
            "kind": "MemoryNamespace",
            "metadata": {"name": metadata_name, "namespace": "team-a"},
            "spec": spec,
        }
        (self.path / name).write_text(json.dumps(body))

    def up(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.soma("up", "-f", "namespace.yaml", "--detach", "--port", str(self.port), *arguments, **options)

    def status(self) -> dict[str, Any]:
        done = self.soma("status", "-o", "json", code=None)
        found = json.loads(done.stdout)
        assert done.returncode == (0 if found["ready"] else 1)
        return found

    def is_ready(self) -> bool:
        return bool(self.status()["ready"])

    def pids(self) -> dict[str, int]:
        return {each["name"]: each["pid"] for each in self.status()["processes"]}

    def pid(self, name: str) -> int:
        return self.pids()[name]

    def supervisor_pid(self) -> int:
        return int((self.path / ".soma" / "supervisor.lock").read_text().split()[0])

    def running(self) -> list[str]:
        """Command lines of all processes that were started for this folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.path) in words or str(process.info["cwd"] or "").startswith(str(self.path)):
                found.append(words)
        return found

    def call(self, path: str, body: object) -> Any:
        found = self.status()
        token = Path(found["tokenFile"]).read_text().strip()
        request = urllib.request.Request(
            found["endpoint"] + path,
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def recalls(self, text: str) -> bool:
        matches = self.call("/recall", {"query": text, "top_k": 1})["matches"]
        return [each["payload"]["text"] for each in matches] == [text]


@contextmanager
def new_folder(path: Path) -> Iterator[Folder]:
    path.mkdir()
    made = Folder(path, any_free_port())
    made.write()
    yield made
    made.soma("down", "--purge", code=None)
    assert made.running() == []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with new_folder(tmp_path / "my project") as made:
        yield made


@pytest.fixture
def other_folder(tmp_path: Path) -> Iterator[Folder]:
    """As on another machine."""
    with new_folder(tmp_path / "another project") as made:
        yield made


def test_the_whole_life_of_a_namespace(folder):
    told = folder.up().stdout
    found = folder.status()

    assert found["namespace"] == "research"
    assert found["endpoint"] == f"http://127.0.0.1:{folder.port}"
    assert found["endpoint"] in told
    assert found["tokenFile"].endswith("/.soma/secrets/research/token")
    assert ".soma/secrets/research/token" in told
    assert [(each["name"], each["ready"]) for each in found["processes"]] == [("api", True), ("postgres", True)]
    assert found["processes"][0]["endpoint"] == found["endpoint"]
    assert {
        each["type"]: each["status"] for each in found["conditions"] if each["reason"] != "NotConfigured"
    } == dict.fromkeys(
        ["ClusterAccepted", "Claimed", "CredentialsReady", "SchemaReady", "APIAvailable", "Synced", "Ready"], "True"
    )
    assert "Qdrant" not in told
    assert "CollectionReady   off" in folder.soma("status").stdout
    assert Path(found["tokenFile"]).stat().st_mode & 0o777 == 0o600

    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})
    assert folder.recalls("the build is green")

    folder.soma("down")
    assert folder.running() == []
    stopped = folder.status()
    assert (stopped["ready"], stopped["processes"], stopped["endpoint"]) == (False, [], None)

    folder.soma("up", "--detach")  # the file and the port are remembered
    assert folder.status()["endpoint"] == found["endpoint"]
    assert folder.recalls("the build is green")

    folder.soma("down", "--purge")
    assert not (folder.path / ".soma").exists()


async def test_whatever_is_killed_comes_back_with_its_data(folder, eventually):
    folder.up()
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})

    for victim in ("api", "postgres"):
        await _kill_and_wait_for_the_next(folder, victim, eventually)
        assert folder.recalls("the build is green")


async def _kill_and_wait_for_the_next(folder: Folder, name: str, eventually: Any) -> None:
    """Not until it is not ready: the sessions of a killed Postgres answer a moment longer, and the next comes soon."""
    killed = folder.pid(name)
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: folder.pids().get(name, killed) != killed)
    await eventually(folder.is_ready)


async def test_a_killed_supervisor_takes_everything_along_and_up_starts_anew(folder, eventually):
    folder.up()
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})

    os.kill(folder.supervisor_pid(), signal.SIGKILL)
    await eventually(lambda: folder.running() == [])
    assert folder.status()["ready"] is False

    folder.up()
    assert folder.recalls("the build is green")


def test_a_changed_file_is_applied_while_it_runs(folder):
    folder.up()
    folder.write(api={"replicas": 2})

    folder.soma("apply", "-f", "namespace.yaml")
    assert [each["name"] for each in folder.status()["processes"]] == ["api", "api-2", "postgres"]

    folder.write(api={"replicas": 1})
    folder.up()
    assert [each["name"] for each in folder.status()["processes"]] == ["api", "postgres"]


def test_what_can_never_change_is_refused_and_nothing_happens(folder):
    folder.up()
    before = folder.status()
    folder.write("hash.yaml", embedding={"provider": "hash"})

    refused = folder.soma("apply", "-f", "hash.yaml", code=2)

    assert refused.stderr.startswith("Error: spec.embedding cannot change")
    assert "soma down --purge" in refused.stderr
    assert folder.status() == before


def test_a_hibernated_namespace_rests_until_it_is_active_again(folder):
    folder.up()
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})
    folder.write(state="Hibernated")

    told = folder.soma("apply", "-f", "namespace.yaml").stdout

    assert "spec.state is Hibernated" in told
    found = folder.status()
    assert [each["name"] for each in found["processes"]] == ["postgres"]
    assert found["endpoint"] is None
    assert "no service is known here" in folder.soma("stats", code=None).stderr

    folder.write()
    folder.soma("apply", "-f", "namespace.yaml")
    assert folder.recalls("the build is green")


def test_a_read_only_namespace_recalls_and_stores_nothing(folder):
    folder.up()
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})
    folder.write(state="ReadOnly")

    folder.soma("apply", "-f", "namespace.yaml")

    assert folder.recalls("the build is green")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is red"}})


def test_a_token_written_into_its_file_counts_from_then_on(folder):
    folder.up()
    file = Path(folder.status()["tokenFile"])

    file.write_text("a-token-that-i-like-more\n")

    eventually(lambda: folder.is_ready() and folder.soma("stats", code=None).returncode == 0, what="the new token")
    assert file.read_text() == "a-token-that-i-like-more\n"


def test_what_one_machine_cannot_do_is_refused_or_said(folder):
    folder.write(api={"auth": {"tokenSecretRef": {"name": "tokens"}}})
    assert "spec.api.auth.tokenSecretRef: there are no Secrets" in folder.up(code=2).stderr

    folder.write(api={"autoscaling": {"minReplicas": 1, "maxReplicas": 3}})
    assert "spec.api.autoscaling: nothing scales on one machine" in folder.up().stdout
    assert [each["name"] for each in folder.status()["processes"]] == ["api", "postgres"]


@pytest.mark.parametrize("running", [False, True], ids=["nothing runs", "it runs"])
def test_a_wrong_file_changes_nothing(folder, running):
    if running:
        folder.up()
    before = folder.status()
    folder.write(api={"replica": 2})

    refused = folder.up(code=2)

    assert refused.stderr == "Error: namespace.yaml: spec.api.replica: is no field; did you mean replicas?\n"
    assert folder.status() == before
    assert (folder.path / ".soma").exists() is running


def test_a_folder_keeps_to_its_namespace(folder):
    folder.up()
    folder.write("other.yaml", metadata_name="other")

    refused = folder.soma("apply", "-f", "other.yaml", code=2)

    assert "holds the memories of team-a/research" in refused.stderr
    assert folder.is_ready()


def test_two_ups_at_once_start_it_once(folder):
    command = [sys.executable, "-P", "-c", MAIN, "up", "-f", "namespace.yaml", "--detach", "--port", str(folder.port)]
    both = [subprocess.Popen(command, cwd=folder.path, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [each.wait(120) for each in both] == [0, 0]
    assert folder.is_ready()
    # The one that came second gives up when it has waited for the lock in vain.
    eventually(lambda: sum("memory_operator.local" in each for each in folder.running()) == 1, what="one supervisor")
    assert folder.is_ready()


def test_in_the_foreground_it_tells_what_turns_and_stops_at_ctrl_c(folder):
    command = [sys.executable, "-P", "-u", "-c", MAIN, "up", "-f", "namespace.yaml", "--port", str(folder.port)]
    with subprocess.Popen(command, cwd=folder.path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                assert folder.is_ready()
                process.send_signal(signal.SIGINT)

    assert process.returncode == 0
    assert [line.split()[0] for line in lines[:3]] == ["ClusterAccepted", "Claimed", "CredentialsReady"]
    assert lines[-1] == "stopped\n"
    assert folder.running() == []


def test_a_given_database_is_used_and_left_running(folder, database):
    folder.write(metadata_name=(name := f"research-{uuid4().hex[:8]}"))
    url = f"{database}?sslmode=disable"
    folder.up("--postgres-url", url)

    assert [each["name"] for each in folder.status()["processes"]] == ["api"]
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})
    other = folder.up("--postgres-url", database, code=2)
    assert "soma down" in other.stderr

    folder.soma("down")
    folder.soma("up", "--detach")  # the address is remembered
    assert folder.status()["namespace"] == name
    assert folder.recalls("the build is green")
    folder.soma("down")


def test_a_tenant_is_served_from_one_place_at_a_time_and_handed_on_by_a_purge(folder, other_folder, database):
    name = f"research-{uuid4().hex[:8]}"
    folder.write(metadata_name=name)
    other_folder.write(metadata_name=name)
    folder.up("--postgres-url", database)
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})

    refused = other_folder.up("--postgres-url", database, code=1)

    assert f"Error: Claimed: tenant team-a/{name} is held by" in refused.stderr
    left = other_folder.soma("down", "--purge").stdout
    assert f"nothing was changed in the given database: tenant team-a/{name} is held by" in left
    assert folder.is_ready()

    told = folder.soma("down", "--purge").stdout
    assert f"schema {TenantNames('team-a', name).schema} in the given database stays, for whoever serves" in told
    other_folder.up("--postgres-url", database)
    assert other_folder.recalls("the build is green")


async def test_a_purge_drops_the_schema_of_a_given_database_only_when_the_file_says_so(folder, database):
    folder.write(
        metadata_name=(name := f"research-{uuid4().hex[:8]}"),
        deletion={"policy": "Delete", "acknowledgeDataLoss": True, "gracePeriod": "24h"},
    )
    folder.up("--postgres-url", database)
    names = TenantNames("team-a", name)

    told = folder.soma("down", "--purge").stdout

    assert f"schema {names.schema} in the given database is dropped" in told
    connection = await asyncpg.connect(database)
    assert await connection.fetch("select from pg_namespace where nspname = $1", names.schema) == []
    assert await connection.fetch("select from pg_roles where rolname like $1", f"{names.schema}%") == []
    assert await connection.fetch("select from memory_operator.tenants") == []
    await connection.close()


def test_a_purge_goes_on_without_the_given_database_and_says_what_stays(folder):
    url = f"postgresql://postgres:secret@127.0.0.1:{any_free_port()}/soma"
    folder.up("--postgres-url", url, "--timeout", "1", code=1)

    told = folder.soma("down", "--purge").stdout

    assert "nothing was changed in the given database: Postgres at 127.0.0.1" in told
    assert "cannot be reached" in told
    assert "secret" not in told
    assert not (folder.path / ".soma").exists()


def test_a_database_that_cannot_be_reached_is_named_and_nothing_stays_behind(folder):
    url = f"postgresql://postgres:secret@127.0.0.1:{any_free_port()}/soma"

    refused = folder.up("--postgres-url", url, "--timeout", "3", code=1)

    assert "not ready after 3 s; Claimed: Postgres at 127.0.0.1" in refused.stderr
    assert "secret" not in refused.stderr + refused.stdout
    assert folder.running() == []


def test_programs_that_are_no_postgres_are_named(folder):
    refused = folder.up(code=1, POSTGRES_BIN="/no/such/folder")

    assert "Error: ClusterAccepted: POSTGRES_BIN=/no/such/folder holds no postgres" in refused.stderr
    assert folder.running() == []


def test_logs_are_shown_by_name(folder):
    folder.up()

    assert "create schema" in folder.soma("logs", "supervisor").stdout
    assert "ready to accept connections" in folder.soma("logs", "postgres").stdout
    assert "==> api <==" in folder.soma("logs", "-n", "1").stdout
    assert "there are: api, postgres, supervisor" in folder.soma("logs", "nothing", code=2).stderr


def test_down_and_logs_and_status_are_calm_when_nothing_ever_ran(folder):
    assert "nothing runs" in folder.soma("down").stdout
    assert folder.soma("logs").stdout == ""
    assert "nothing runs here" in folder.soma("status", code=1).stdout
    assert "nothing runs" in folder.soma("apply", "-f", "namespace.yaml", code=1).stderr
    assert "give -f FILE" in folder.soma("up", code=2).stderr
