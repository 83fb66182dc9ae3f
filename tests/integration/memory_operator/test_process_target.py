"""The runner of Deployments on one machine, with a small server in the API's place."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from memory_contracts.errors import Rejected
from memory_contracts.reasons import Reason
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.local.ports import any_free_port
from memory_operator.local.process_target import ProcessTarget
from memory_operator.local.processes import observe_process
from memory_operator.specs.tenant import Credentials, Tenant, tenant_names
from memory_operator.specs.workload import Workload, build_workload
from memory_operator.world import Availability

FAKE_API = Path(__file__).with_name("fake_api.py")
TOKEN = "the-token-of-the-team"
CREDENTIALS = Credentials(TOKEN, {"a": "first-password-in-use", "b": "second-password-waits"})
CLUSTER = MemoryCluster.model_validate(
    {
        "metadata": {"name": "default"},
        "spec": {"postgres": {"external": {"host": "127.0.0.1", "adminSecretRef": {"name": "admin"}}}},
    }
)


@dataclass
class Runner:
    """A target and the folder of its fake API."""

    target: ProcessTarget
    folder: Path

    def workload(self, state: str = "Active", ca: str | None = None, **api: object) -> Workload:
        namespace = NAMESPACE.model_copy(update={"spec": spec_of(state, api)})
        listen = self.target.listen(tenant_names(namespace))
        built = build_workload(Tenant(namespace, CLUSTER, listen, CREDENTIALS, ca))
        container = built.deployment["spec"]["template"]["spec"]["containers"][0]
        container["command"] = ["python", str(FAKE_API), str(self.folder)]
        return built

    async def plan(self, **api: Any) -> list[str]:
        return [step.summary for step in await self.target.plan(NAMESPACE, self.workload(**api))]

    async def apply(self, **api: Any) -> Availability:
        """One pass of the reconcile over the workload."""
        return await self.run(self.workload(**api))

    async def run(self, workload: Workload) -> Availability:
        await self.target.apply(NAMESPACE, await self.target.plan(NAMESPACE, workload))
        return await self.target.availability(NAMESPACE, workload)

    async def complete(self, **api: Any) -> Availability | None:
        found = await self.apply(**api)
        return found if found.complete and found.rolled_out else None

    async def blocked(self, **api: Any) -> Availability | None:
        found = await self.apply(**api)
        return found if found.reason is Reason.BLOCKED else None

    def starts(self) -> list[dict[str, Any]]:
        file = self.folder / "starts"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def pids(self) -> list[int]:
        return [each.record.pid for each in self.target.replicas if each.record]

    def ports(self) -> list[int]:
        return [each.spec.port for each in self.target.replicas]


NAMESPACE = MemoryNamespace.model_validate({"metadata": {"name": "research"}})


def spec_of(state: str, api: dict[str, object]) -> Any:
    return MemoryNamespace.model_validate({"metadata": {"name": "x"}, "spec": {"state": state, "api": api}}).spec


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    (tmp_path / "logs").mkdir()
    target = ProcessTarget(tmp_path / "logs", tmp_path, any_free_port(), changed=lambda: None)
    yield Runner(target, tmp_path)
    await target.close()


async def test_the_workload_runs_until_it_is_closed(runner, eventually):
    available = await eventually(runner.complete)
    (replica,) = runner.target.replicas
    record = replica.record

    assert available.endpoint == f"http://127.0.0.1:{replica.spec.port}"
    assert record.alive

    await runner.target.close()
    assert not record.alive


async def test_the_process_gets_the_manifests_environment_and_little_else(runner, eventually, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for the API")
    await eventually(runner.complete)

    environment = runner.starts()[0]["environment"]

    assert environment["SOMA_API_TOKEN"] == TOKEN
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert environment["SOMA_API_PORT"] == str(runner.ports()[0])
    assert environment["PATH"] == os.environ["PATH"]
    assert "AWS_SECRET_ACCESS_KEY" not in environment


async def test_a_process_that_dies_is_started_again_on_its_port(runner, eventually):
    await eventually(runner.complete)
    (pid,), port = runner.pids(), runner.ports()

    os.kill(pid, signal.SIGKILL)

    await eventually(lambda: runner.pids() not in ([], [pid]))
    await eventually(runner.complete)
    assert runner.ports() == port


async def test_a_process_that_keeps_ending_says_why(runner, eventually):
    (runner.folder / "broken").touch()

    found = await eventually(runner.blocked)

    assert found.detail == "api ended with exit code 3: the fake is broken"
    (runner.folder / "broken").unlink()
    assert await eventually(runner.complete)


async def test_a_process_that_does_not_answer_is_not_ready(runner, eventually):
    (runner.folder / "unready").touch()
    await runner.apply()
    await eventually(runner.starts)

    assert (await runner.apply()).ready == 0

    (runner.folder / "unready").unlink()
    await eventually(runner.complete)
    (runner.folder / "unready").touch()

    async def lost() -> bool:
        return (await runner.apply()).ready == 0

    await eventually(lost)
    assert len(runner.starts()) == 1


async def test_replicas_come_and_go_with_ports_of_their_own(runner, eventually):
    await eventually(lambda: runner.complete(replicas=3))
    assert [each.spec.name for each in runner.target.replicas] == ["api", "api-2", "api-3"]
    assert len(set(runner.ports())) == 3
    first, *others = runner.pids()
    records = [each.record for each in runner.target.replicas]

    await eventually(lambda: runner.complete(replicas=1))

    assert runner.pids() == [first]
    assert [each.alive for each in records] == [True, False, False]
    assert others


async def test_a_change_restarts_the_replicas_one_after_another(runner, eventually):
    await eventually(lambda: runner.complete(replicas=2))
    before, ports = runner.pids(), runner.ports()
    assert await runner.plan(replicas=2, logLevel="debug") == [
        "restart api for other SOMA_LOG_LEVEL",
        "restart api-2 for other SOMA_LOG_LEVEL",
    ]
    seen_ready: list[int] = []

    async def rolled() -> Availability | None:
        found = await runner.complete(replicas=2, logLevel="debug")
        seen_ready.append(sum(each.ready for each in runner.target.replicas))
        return found

    await eventually(rolled)

    assert not set(before) & set(runner.pids())
    assert runner.ports() == ports
    assert len(seen_ready) > 1
    assert min(seen_ready) >= 1  # one always answered
    assert [each["environment"].get("SOMA_LOG_LEVEL") for each in runner.starts()] == [None, None, "debug", "debug"]


async def test_a_change_that_breaks_the_api_stops_at_the_first_replica(runner, eventually):
    await eventually(lambda: runner.complete(replicas=2))
    _, second = runner.pids()
    (runner.folder / "broken").touch()

    found = await eventually(lambda: runner.blocked(replicas=2, logLevel="debug"))

    assert second in runner.pids()
    assert (found.ready, found.rolled_out) == (1, False)


async def test_a_restart_that_waits_for_its_turn_is_no_difference(runner, eventually):
    """What would be one is drift, and is counted, or withheld where drift is only reported."""
    await eventually(lambda: runner.complete(replicas=2))
    first, second = runner.pids()

    applied = await runner.apply(replicas=2, logLevel="debug")

    assert (applied.ready, applied.rolled_out) == (2, False)

    async def restarted() -> bool:
        assert await runner.plan(replicas=2, logLevel="debug") == []
        return second not in runner.pids()

    await eventually(restarted)
    await eventually(lambda: runner.complete(replicas=2, logLevel="debug"))
    assert first not in runner.pids()


async def test_a_change_that_is_taken_back_in_the_middle_restarts_only_what_was_restarted(runner, eventually):
    await eventually(lambda: runner.complete(replicas=2))
    first, second = runner.pids()
    (runner.folder / "broken").touch()
    await eventually(lambda: runner.blocked(replicas=2, logLevel="debug"))
    (runner.folder / "broken").unlink()

    await eventually(lambda: runner.complete(replicas=2))

    assert first not in runner.pids()
    assert second in runner.pids()


async def test_a_dead_process_is_no_difference(runner, eventually):
    await eventually(runner.complete)
    (pid,) = runner.pids()

    os.kill(pid, signal.SIGKILL)

    async def back() -> bool:
        assert await runner.plan() == []
        return runner.pids() not in ([pid], [])

    await eventually(back)


@pytest.mark.parametrize("state", ["Fenced", "Hibernated"])
async def test_while_it_rests_no_process_runs_and_active_brings_them_back(runner, eventually, state):
    await eventually(lambda: runner.complete(replicas=2))
    records = [each.record for each in runner.target.replicas]
    assert await runner.plan(state=state, replicas=2) == ["stop api", "stop api-2"]

    resting = await runner.apply(state=state, replicas=2)

    assert (resting.wanted, resting.ready, resting.present, resting.rolled_out) == (0, 0, 0, True)
    assert [each.alive for each in records] == [False, False]
    assert await runner.plan(state=state, replicas=2) == []
    assert (await eventually(lambda: runner.complete(replicas=2))).present == 2


async def test_with_an_autoscaler_the_fewest_run(runner, eventually):
    found = await eventually(lambda: runner.complete(autoscaling={"minReplicas": 2, "maxReplicas": 5}))

    assert (found.wanted, found.present) == (2, 2)


async def test_certificates_in_files_are_refused_before_anything_starts(runner):
    with pytest.raises(Rejected, match="local mode has no mounts"):
        await runner.target.plan(NAMESPACE, runner.workload(ca="-----BEGIN CERTIFICATE-----"))
    assert runner.target.replicas == []


async def test_stopped_for_good_nothing_is_left(runner, eventually):
    await eventually(lambda: runner.complete(replicas=2))
    records = [each.record for each in runner.target.replicas]

    await runner.target.stop(NAMESPACE)

    assert [each.alive for each in records] == [False, False]
    assert await runner.plan(replicas=2) == ["start api", "start api-2"]


async def test_closing_in_the_middle_of_a_restart_leaves_nothing(runner, eventually):
    await eventually(lambda: runner.complete(replicas=2))
    records = [each.record for each in runner.target.replicas]
    await runner.apply(replicas=2, logLevel="debug")
    await asyncio.sleep(0.01)

    await runner.target.close()

    assert [each.alive for each in records] == [False, False]
    assert runner.target.replicas == []
    assert not [each for each in asyncio.all_tasks() if each.get_name().startswith(("replica", "probe", "restarts"))]


async def test_nothing_restarts_when_nothing_changed(runner, eventually):
    await eventually(lambda: runner.complete(replicas=2))

    for _ in range(5):
        assert (await runner.apply(replicas=2)).complete

    assert len(runner.starts()) == 2


async def test_a_taken_port_is_left_to_its_owner(tmp_path, eventually):
    (tmp_path / "logs").mkdir()
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        taken = owner.getsockname()[1]
        runner = Runner(ProcessTarget(tmp_path / "logs", tmp_path, taken, changed=lambda: None), tmp_path)

        assert await eventually(runner.complete)
        assert runner.ports() != [taken]
        await runner.target.close()


async def test_a_command_that_does_not_exist_is_named(runner, eventually):
    workload = runner.workload()
    container = workload.deployment["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["/no/such/program"]

    async def failing() -> Availability | None:
        found = await runner.run(workload)
        return found if found.reason is Reason.BLOCKED else None

    assert "cannot run /no/such/program" in (await eventually(failing)).detail


async def test_processes_do_not_outlive_a_killed_supervisor(tmp_path, eventually):
    """The supervisor is a process of its own here, so that it can be killed."""
    (tmp_path / "logs").mkdir()
    script = f"""
import asyncio, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from test_process_target import ProcessTarget, Runner, any_free_port

async def main():
    folder = Path({str(tmp_path)!r})
    runner = Runner(ProcessTarget(folder / "logs", folder, any_free_port(), lambda: None), folder)
    while not await runner.complete():
        await asyncio.sleep(0.02)
    print(*runner.pids(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent
    )
    assert supervisor.stdout
    child = observe_process("api", int(await supervisor.stdout.readline()))
    assert child

    supervisor.kill()
    await supervisor.wait()

    await eventually(lambda: not child.alive)


async def test_the_workload_is_not_changed_by_running_it(runner, eventually):
    workload = runner.workload(replicas=2)
    copy = replace(workload, deployment=json.loads(json.dumps(workload.deployment)))

    await runner.run(workload)

    assert workload == copy
