"""What local mode decides without looking at the world."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memory_contracts.conditions import Condition
from memory_contracts.errors import Rejected
from memory_contracts.reasons import ConditionStatus, ConditionType, Reason
from memory_operator.local.database import parse_admin_url
from memory_operator.local.replica import ReplicaSpec, last_words, pause_after
from memory_operator.local.report import changes, is_settled
from memory_operator.local.resources import load_namespace, notices, parse_namespace
from memory_operator.local.rollout import Turn, next_restart, plan_processes

HEAD = "apiVersion: memory.somafractal.io/v1alpha1\nkind: MemoryNamespace\nmetadata: {name: research}\n"


READY, DOWN = Turn("ready", current=True, ready=True), Turn("down", current=True, ready=False)
OLD, OLD_DOWN = Turn("old", current=False, ready=True), Turn("old-down", current=False, ready=False)


@pytest.mark.parametrize(
    ("turns", "due"),
    [
        ([], None),
        ([READY, DOWN], None),
        ([OLD, replace(OLD, name="old-2")], "old"),
        ([READY, OLD], "old"),
        ([DOWN, OLD], None),
        ([OLD, OLD_DOWN], "old-down"),
        ([DOWN, OLD, OLD_DOWN], "old-down"),
    ],
    ids=["none", "all current", "first", "next", "wait", "nothing to lose", "nothing to lose, though another is down"],
)
def test_replicas_are_restarted_one_after_another(turns, due):
    assert next_restart(turns) == due


def spec(name: str, **environment: str) -> ReplicaSpec:
    return ReplicaSpec(name, ("python",), environment, 9595, "/readyz", 25.0)


def told(*specs: ReplicaSpec) -> dict[str, ReplicaSpec]:
    return {each.name: each for each in specs}


@pytest.mark.parametrize(
    ("before", "wanted", "summaries"),
    [
        (told(), told(spec("api")), ["start api"]),
        (told(spec("api")), told(spec("api")), []),
        (told(spec("api"), spec("api-2")), told(spec("api")), ["stop api-2"]),
        (
            told(spec("api", A="1", B="secret"), spec("api-2")),
            told(spec("api", A="2", C="secret"), spec("api-2")),
            ["restart api for other A, B, C"],
        ),
        (told(spec("api")), told(replace(spec("api"), command=("x",))), ["restart api for other command"]),
        (told(spec("api")), told(replace(spec("api"), port=9600)), ["restart api for other port or probe"]),
        (told(spec("api")), told(), ["stop api"]),
        (told(), told(), []),
    ],
    ids=["empty", "converged", "fewer", "variables", "command", "port", "none any more", "hibernated"],
)
def test_the_steps_lead_from_what_was_told_to_what_is_wanted(before, wanted, summaries):
    steps = plan_processes(wanted, before)

    assert [step.summary for step in steps] == summaries
    assert "secret" not in repr(steps)


def test_pauses_grow_and_stay_bounded():
    pauses = [pause_after(failures) for failures in range(12)]

    assert pauses == sorted(pauses)
    assert pauses[0] < 1 < pauses[-1] <= 30


def line(level: str, message: str) -> str:
    return json.dumps({"level": level, "message": message})


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", 1, ""),
        ("Traceback\nValueError: no\n", 1, "ValueError: no"),
        (line("info", "bye"), 1, "bye"),
        (line("info", "bye"), -9, ""),
        ("\n".join([line("critical", "the reason"), line("error", "late"), line("info", "bye")]), -15, "the reason"),
        ("\n".join([line("error", "first"), line("error", "second"), "plain"]), 3, "second"),
        ("[1]", 1, "[1]"),
    ],
)
def test_the_reason_of_an_end_is_found_in_the_log(text, code, words):
    assert last_words(text, code) == words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no MemoryNamespace"),
        ("[1]", "is a mapping with apiVersion"),
        ("a: [", "is not valid YAML at line 1"),
        ("a: 1\na: 2", "line 2: key 'a' is given twice"),
        ("kind: Pod", "kind: 'Pod' is unknown; write MemoryNamespace"),
        (HEAD.replace("v1alpha1", "v2"), "apiVersion: 'memory.somafractal.io/v2' is unknown"),
        (HEAD + "spec: {api: {replica: 2}}", "spec.api.replica: is no field; did you mean replicas?"),
        (HEAD + "spec: {api: {replicas: 0}}", "spec.api.replicas: must be greater than or equal to 1, not 0"),
        (HEAD + "spec: {embedding: {provider: openai}}", "spec.embedding.provider: must be 'builtin' or 'hash'"),
        (HEAD + "spec: {embedding: {dimensions: 512}}", "spec.embedding: embedding.dimensions goes with provider hash"),
        (HEAD + "spec: 7", "spec: must be a mapping, not 7"),
        (HEAD.replace("research", "My_Mem"), "metadata.name: must be lower-case letters"),
        (HEAD.replace("research", "12"), "metadata.name: must be text, not 12; put it in quotes"),
        (HEAD.replace("name: research", ""), "metadata.name: is required; add it"),
        (HEAD + "---\n" + HEAD, "holds 2 objects of kind MemoryNamespace"),
        (HEAD + "---\n" + HEAD.replace("MemoryNamespace", "MemoryCluster"), "give --postgres-url"),
        (HEAD + "spec: {api: {autoscaling: {minReplica: 1, maxReplicas: 2}}}", "did you mean minReplicas?"),
        (HEAD + "spec: {events: {retention: 1 week}}", "must be a duration, as in 1h30m, not '1 week'"),
        (HEAD + "spec: {events: {retention: x}}", "spec.events.retention: must have at least 2 characters, not 'x'"),
        (
            HEAD + "spec: {api: {resources: {requests: {cpu: 1x}}}}",
            "requests.cpu: must be a quantity, as in 1Gi, not '1x'",
        ),
        (HEAD + "spec: {api: {auth: {tokenSecretRef: {name: tokens}}}}", "into the file secrets/research/token of the"),
    ],
)
def test_a_wrong_file_is_explained_in_one_sentence(text, sentence):
    with pytest.raises(Rejected) as caught:
        parse_namespace(text, "memory.yaml")

    assert caught.value.detail.startswith("memory.yaml: ")
    assert sentence in caught.value.detail
    assert "\n" not in caught.value.detail


def test_a_right_file_is_read_whatever_stands_around_it():
    namespace = parse_namespace(f"# mine\n---\n{HEAD}spec:\n  api: {{replicas: 2}}\n---\n", "memory.yaml")

    assert (namespace.metadata.name, namespace.spec.api.replicas) == ("research", 2)


def test_what_one_machine_reads_in_a_way_of_its_own_is_said():
    scaled = parse_namespace(HEAD + "spec: {api: {autoscaling: {minReplicas: 2, maxReplicas: 9}}}", "memory.yaml")

    assert list(notices(scaled)) == [
        "spec.api.autoscaling: nothing scales on one machine; processes that run: 2 (minReplicas)"
    ]
    assert list(notices(parse_namespace(HEAD, "memory.yaml"))) == []


def test_the_examples_file_for_kubernetes_is_read_without_a_word():
    assert list(notices(load_namespace(Path(__file__).parents[3] / "examples" / "namespace.yaml"))) == []


def test_an_address_of_a_database_is_taken_apart():
    found = parse_admin_url("postgresql://ad%40min:se%2Fcret@db.example.com/mem%20ory?sslmode=require")

    server = found.server
    assert (server.host, server.port, server.database, server.tls.mode) == (
        "db.example.com",
        5432,
        "mem ory",
        "require",
    )
    assert (found.administrator.user, found.administrator.password) == ("ad@min", "se/cret")
    assert "se/cret" not in repr(found)


@pytest.mark.parametrize(
    "url",
    ["", "mysql://a:b@c/d", "postgresql://host/db", "postgresql://a:b@host", "postgresql://a:b@host:x/db",
     "postgresql://a@host/db", "postgresql://a:b@ho st/db", "postgresql://a:b@host/" + "d" * 64],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(Rejected, match="--postgres-url"):
        parse_admin_url(url)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ("sslmode=maybe", "--postgres-url: sslmode: must be 'disable', 'prefer',"),
        ("connect_timeout=3", "--postgres-url: parameter connect_timeout is not read, only sslmode is; remove it"),
        ("sslmode=verify-full&sslrootcert=/my/ca.crt", "SSL_CERT_FILE names further authorities to trust"),
    ],
)
def test_what_the_address_asks_for_and_does_not_get_is_refused(parameters, sentence):
    with pytest.raises(Rejected) as caught:
        parse_admin_url(f"postgresql://a:secret@host/db?{parameters}")

    assert sentence in caught.value.detail
    assert "secret" not in caught.value.detail


def condition(kind: ConditionType, reason: Reason, status: ConditionStatus = ConditionStatus.TRUE) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=f"{kind} is {reason}")


FALSE, UNKNOWN = ConditionStatus.FALSE, ConditionStatus.UNKNOWN
SCHEMA = condition(ConditionType.SCHEMA_READY, Reason.PROVISIONED)
NO_QDRANT = condition(ConditionType.COLLECTION_READY, Reason.NOT_CONFIGURED, FALSE)
WAITING = condition(ConditionType.API_AVAILABLE, Reason.WAITING_FOR_EARLIER_STAGE, UNKNOWN)
AVAILABLE = condition(ConditionType.API_AVAILABLE, Reason.AVAILABLE)
HIBERNATED = condition(ConditionType.API_AVAILABLE, Reason.HIBERNATED, FALSE)
SYNCED = condition(ConditionType.SYNCED, Reason.IN_SYNC)
ROLLING = condition(ConditionType.SYNCED, Reason.PROGRESSING, FALSE)
DRIFTED = condition(ConditionType.SYNCED, Reason.DRIFT_DETECTED, FALSE)
READY_NOW = condition(ConditionType.READY, Reason.AVAILABLE)
NOT_READY = condition(ConditionType.READY, Reason.HIBERNATED, FALSE)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ([], [SCHEMA, NO_QDRANT, WAITING, SYNCED], ["SchemaReady"]),
        ([SCHEMA], [SCHEMA, AVAILABLE, SYNCED, READY_NOW], ["APIAvailable", "Ready"]),
        ([AVAILABLE, SYNCED, READY_NOW], [AVAILABLE, ROLLING, READY_NOW], ["Synced"]),
        ([AVAILABLE, ROLLING, READY_NOW], [AVAILABLE, SYNCED, READY_NOW], ["Synced"]),
        ([AVAILABLE, READY_NOW], [HIBERNATED, NOT_READY], ["APIAvailable"]),
        ([SCHEMA, AVAILABLE], [SCHEMA, AVAILABLE], []),
    ],
    ids=["first pass", "ready", "rolls", "has rolled", "hibernated", "nothing new"],
)
def test_a_person_is_told_what_is_new(before, after, lines):
    assert [line.split()[0] for line in changes(before, after)] == lines


@pytest.mark.parametrize(
    ("conditions", "settled"),
    [
        ([AVAILABLE, SYNCED, READY_NOW], True),
        ([AVAILABLE, ROLLING, READY_NOW], False),
        ([AVAILABLE, DRIFTED, READY_NOW], True),
        ([HIBERNATED, SYNCED, NOT_READY], True),
        ([HIBERNATED, ROLLING, NOT_READY], False),
        ([WAITING, NOT_READY], False),
        ([], False),
    ],
    ids=["serves", "restarts", "drift is only reported", "rests", "about to rest", "waits", "nothing is known"],
)
def test_apply_waits_until_it_is_as_asked_for(conditions, settled):
    assert is_settled(conditions) is settled
