"""The command line: what it says of itself, how it refuses, and with which code it ends."""

import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tenants import CREDENTIALS, LISTEN, cluster, namespace

from memory_contracts.conditions import ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_contracts.naming import TenantNames
from memory_operator import cli
from memory_operator.outcome import Outcome
from memory_operator.shell import dry_run
from memory_operator.shell.dry_run import Plan, _documents, _summarised
from memory_operator.specs.tenant import Tenant
from memory_operator.status import StageResult, held, passed

GOOD = """
apiVersion: memory.somafractal.io/v1alpha1
kind: MemoryNamespace
metadata: {name: research}
"""
CLUSTER = """
apiVersion: memory.somafractal.io/v1alpha1
kind: MemoryCluster
metadata: {name: default, namespace: memory-system}
spec: {}
"""


# Of a cluster that nobody serves.
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
users: [{name: nobody, user: {token: x}}]
"""


def run(*arguments: str, **environment: str | None) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), env=environment)


@pytest.fixture(autouse=True)
def _leave_logging_alone(monkeypatch):
    monkeypatch.setattr(cli, "configure_logging", lambda level: None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "namespace.yaml"
    found.write_text(GOOD)
    return found


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["run", "plan", "Turn MemoryClusters and MemoryNamespaces into running memory services."]),
        (
            ["run"],
            ["--namespace", "--health-port", "--log-level", "8080", "KUBECONFIG", "Of several replicas one leads."],
        ),
        (["plan"], ["--filename", "Exit code 0: nothing to do, 2: there are steps, 1: something stands in the way."]),
    ],
    ids=["memory-operator", "run", "plan"],
)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_says_what_there_is(arguments, said, flag):
    result = run(*arguments, flag)

    text = " ".join(result.output.split())
    assert result.exit_code == 0
    assert all(each in text for each in said)


def test_the_version_is_that_of_the_package():
    assert version("memory-operator") in run("--version").output


def test_the_example_of_the_help_is_there():
    (line,) = [line for line in run("plan", "--help").output.splitlines() if "plan -f " in line]

    assert (Path(__file__).parents[3] / line.split()[-1]).is_file()


def test_help_needs_neither_kopf_nor_a_driver():
    """It answers at once, also where a driver is not installed."""
    heavy = ["kopf", "asyncpg", "kubernetes", "confluent_kafka", "qdrant_client", "uvloop"]
    code = f"import sys, memory_operator.cli; print([each for each in {heavy} if each in sys.modules])"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"


# --- where the Lease is -----------------------------------------------------------------------------------------------


def test_the_namespace_is_what_the_pod_was_told(monkeypatch):
    monkeypatch.setenv("POD_NAMESPACE", "memory-system")

    assert cli.default_namespace() == "memory-system"


@pytest.mark.parametrize(("there", "expected"), [(True, "from-the-account"), (False, "default")])
def test_else_it_is_that_of_the_account_or_default(monkeypatch, tmp_path, there, expected):
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    file = tmp_path / "namespace"
    if there:
        file.write_text("from-the-account\n")
    monkeypatch.setattr(cli, "ACCOUNT_NAMESPACE", file)

    assert cli.default_namespace() == expected


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--health-port", "70000"], ["--health-port", "-1"], ["--log-level", "loud"], ["--unknown"]],
    ids=" ".join,
)
def test_what_cannot_be_an_option_is_refused(arguments):
    result = run("run", *arguments)

    assert result.exit_code == 2
    assert "Error: " in result.output


def test_a_kubeconfig_that_is_missing_is_said_in_one_sentence(tmp_path):
    """As a process, for the command sets up logging and an event loop of its own."""
    command = Path(sys.executable).with_name("memory-operator")
    environment = os.environ | {"KUBECONFIG": str(tmp_path / "missing"), "HOME": str(tmp_path)}

    ended = subprocess.run(
        [command, "run", "--health-port", "0"], capture_output=True, text=True, env=environment, check=False, timeout=60
    )

    assert ended.returncode == 1
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert "no way to reach a Kubernetes API" in said
    assert "set KUBECONFIG, or run in a pod with a service account" in said
    assert "Traceback" not in ended.stderr


def test_a_health_port_that_is_taken_is_said_in_one_sentence(tmp_path):
    """Regression: it was a traceback. The port is asked for before anything of Kubernetes."""
    command = Path(sys.executable).with_name("memory-operator")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)

    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [command, "run", "--health-port", port],
            capture_output=True,
            text=True,
            env=os.environ | {"KUBECONFIG": str(kubeconfig)},
            check=False,
            timeout=60,
        )

    assert ended.returncode == 1
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert f"port {port} " in said
    assert "--health-port" in said
    assert "Traceback" not in ended.stderr


# --- plan -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def planned(monkeypatch):
    """Let the plans of a file be these, or an error."""

    def plan(*answer: Plan | Exception) -> None:
        async def plan_file(file: Path) -> list[Plan]:
            if answer and isinstance(answer[0], Exception):
                raise answer[0]
            return list(answer)

        monkeypatch.setattr(dry_run, "plan_file", plan_file)

    return plan


NOTHING = Plan("MemoryNamespace team-a/one", (), ())
STEPS = Plan("MemoryNamespace team-a/two", ("create schema x", "create Service y"), ())
PROBLEM = Plan("MemoryNamespace team-a/three", ("create schema z",), ("TopicReady: kafka cannot be reached",))


@pytest.mark.parametrize(
    ("plans", "code"),
    [
        ([NOTHING], 0),
        ([STEPS], 2),
        ([NOTHING, STEPS], 2),
        ([PROBLEM], 1),
        ([NOTHING, STEPS, PROBLEM], 1),
    ],
    ids=["nothing", "steps", "some steps", "a problem", "all of it"],
)
def test_the_exit_code_says_what_there_is_to_do(planned, file, plans, code):
    planned(*plans)

    assert run("plan", "-f", str(file)).exit_code == code


def test_steps_and_problems_are_told_apart(planned, file):
    planned(NOTHING, STEPS, PROBLEM)

    assert run("plan", "-f", str(file)).output.splitlines() == [
        "MemoryNamespace team-a/one",
        "  nothing to do",
        "MemoryNamespace team-a/two",
        "  + create schema x",
        "  + create Service y",
        "MemoryNamespace team-a/three",
        "  + create schema z",
        "  ! TopicReady: kafka cannot be reached",
    ]


@pytest.mark.parametrize("error", [Unavailable("the API server: refused"), Rejected("spec.x: is no field")])
def test_an_error_is_one_sentence_and_its_code_is_that_of_a_problem(planned, file, error):
    planned(error)

    result = run("plan", "-f", str(file))

    assert (result.exit_code, result.output) == (1, f"Error: {error.detail}\n")


def test_a_file_has_to_be_named():
    assert "Missing option '-f'" in run("plan").output


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [", "is not valid YAML: "),
        (b"\xff\xfe", "cannot be read: "),
        (b"", "holds no MemoryNamespace of memory.somafractal.io/v1alpha1; a plan is made for these"),
        (b"just a text", "holds no MemoryNamespace"),
        (b"kind: ConfigMap\napiVersion: v1\n", "holds no MemoryNamespace"),
        (GOOD.replace("v1alpha1", "v1beta1").encode(), "holds no MemoryNamespace"),
        (CLUSTER.encode(), "holds no MemoryNamespace"),
        (GOOD.replace("MemoryNamespace", "MemorySpace").encode(),
         "document 1 is no MemoryCluster or MemoryNamespace with a metadata.name"),
        (GOOD.replace("{name: research}", "{}").encode(), "document 1 is no MemoryCluster"),
        (GOOD.replace("{name: research}", "research").encode(), "document 1 is no MemoryCluster"),
        (GOOD.replace("metadata: {name: research}", "").encode(), "document 1 is no MemoryCluster"),
        (GOOD.encode() + b"---\n" + GOOD.replace("{name: research}", "[]").encode(), "document 2 is no MemoryCluster"),
        (GOOD.encode() + b"spec: &a {self: *a}\n", "document 1 cannot be sent as JSON: "),
        (GOOD.encode() + b"spec: {2026-01-01: x}\n", "document 1 cannot be sent as JSON: "),
    ],
    ids=[
        "no YAML", "no text", "empty", "a text", "something else", "another version", "only a cluster", "unknown kind",
        "no name", "metadata is a text", "no metadata", "the second is wrong", "a circle", "a date as key",
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_planned_is_refused_before_anything_is_asked(tmp_path, content, said):
    file = tmp_path / "x.yaml"
    file.write_bytes(content)

    result = run("plan", "-f", str(file))

    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {file}: {said}")
    assert len(result.output.splitlines()) == 1


def test_a_missing_file_or_a_folder_is_a_problem_and_not_steps(tmp_path):
    """Regression: its exit code was 2, which a script takes for steps."""
    for place in (tmp_path / "missing.yaml", tmp_path):
        result = run("plan", "-f", str(place))

        assert result.exit_code == 1
        assert result.output.startswith(f"Error: {place}: cannot be read: ")


def test_the_objects_are_taken_as_they_are_and_what_else_is_there_is_left(tmp_path):
    file = tmp_path / "x.yaml"
    others = "---\n# only a comment\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: x}\n---\n- a list\n"
    file.write_text(CLUSTER + "---" + GOOD + others)

    cluster, namespace = _documents(file)

    assert cluster["metadata"] == {"name": "default", "namespace": "memory-system"}
    assert namespace["metadata"] == {"name": "research", "namespace": "default"}


# --- what a plan leaves out -------------------------------------------------------------------------------------------


def test_a_plan_tells_what_stands_in_the_way_and_not_what_is_as_asked():
    results = [
        passed(ConditionType.SCHEMA_READY, Reason.PROVISIONED, "fine", withheld=["create schema x"]),
        held(ConditionType.TOPIC_READY, Reason.NOT_CONFIGURED, "no Kafka"),
        held(ConditionType.CACHE_READY, Reason.FOREIGN_OBJECT, "user x is somebody else's"),
        StageResult(ConditionType.API_AVAILABLE, ConditionStatus.FALSE, Reason.HIBERNATED, "no process runs"),
    ]

    plan = _summarised("x", Outcome(TenantNames("team-a", "research"), results))

    assert plan == Plan("x", ("create schema x",), ("CacheReady: user x is somebody else's",))


@pytest.mark.parametrize("reason", [Reason.PROGRESSING, Reason.FENCED, Reason.HIBERNATED, Reason.NOT_CONFIGURED])
def test_what_is_on_its_way_or_as_asked_is_no_problem(reason):
    outcome = Outcome(TenantNames("team-a", "research"), [held(ConditionType.API_AVAILABLE, reason, "x")])

    assert _summarised("x", outcome).problems == ()


def test_a_plan_tells_of_an_autoscaler_that_would_have_nothing_to_measure():
    without_cpu = cluster(defaults={"resources": {"requests": {"memory": "256Mi"}}})
    scaled = Tenant(namespace(api={"autoscaling": {"maxReplicas": 2}}), without_cpu, LISTEN, CREDENTIALS)

    (problem,) = _summarised("x", Outcome(scaled.names, tenant=scaled)).problems

    assert problem.startswith("Synced: spec.api.autoscaling measures CPU use against requests.cpu, which")
