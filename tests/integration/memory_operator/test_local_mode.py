"""`soma up` and its sisters as a user runs them: real commands, the real API, a folder with a space in its name."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from soma_command import eventually

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

    def pid(self, name: str) -> int:
        return next(each["pid"] for each in self.status()["processes"] if each["name"] == name)

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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    path = tmp_path / "my project"
    path.mkdir()
    made = Folder(path, any_free_port())
    made.write()
    yield made
    made.soma("down", "--purge", code=None)
    assert made.running() == []


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
    assert {each["status"] for each in found["conditions"]} == {"True"}
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
        os.kill(folder.pid(victim), signal.SIGKILL)
        assert not folder.is_ready(), victim
        await eventually(folder.is_ready)
        assert folder.recalls("the build is green")


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


def test_another_embedding_is_refused_with_the_reason_and_can_be_taken_back(folder):
    folder.up()
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})
    folder.write("hash.yaml", embedding={"provider": "hash"})

    refused = folder.soma("apply", "-f", "hash.yaml", code=1)

    assert "Error: APIAvailable" in refused.stderr
    assert "embedder" in refused.stderr.splitlines()[0]
    assert "embedder" in folder.status()["conditions"][3]["message"]
    folder.soma("apply", "-f", "namespace.yaml")
    assert folder.recalls("the build is green")


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
    assert [line.split()[0] for line in lines[:3]] == ["ClusterAccepted", "CredentialsReady", "SchemaReady"]
    assert lines[-1] == "stopped\n"
    assert folder.running() == []


def test_a_given_database_is_used_and_left_running(folder, database):
    folder.write(metadata_name=(name := f"research-{uuid4().hex[:8]}"))
    url = f"{database}?sslmode=disable"
    folder.up("--postgres-url", url)

    assert [each["name"] for each in folder.status()["processes"]] == ["api"]
    folder.call("/store", {"coord": "1,2", "payload": {"text": "the build is green"}})
    other = folder.up("--postgres-url", url + "&a=b", code=2)
    assert "soma down" in other.stderr

    folder.soma("down")
    folder.soma("up", "--detach")  # the address is remembered
    assert folder.status()["namespace"] == name
    assert folder.recalls("the build is green")
    folder.soma("down")


def test_a_database_that_cannot_be_reached_is_named_and_nothing_stays_behind(folder):
    url = f"postgresql://postgres:secret@127.0.0.1:{any_free_port()}/soma"

    refused = folder.up("--postgres-url", url, "--timeout", "3", code=1)

    assert "not ready after 3 s; SchemaReady: Postgres at 127.0.0.1" in refused.stderr
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
