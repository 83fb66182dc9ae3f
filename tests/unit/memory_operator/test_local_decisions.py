"""What local mode decides without looking at the world."""

import json
import sys
from dataclasses import replace

import pytest

from memory_contracts.errors import Rejected
from memory_operator.local.database import parse_admin_url
from memory_operator.local.pod_environment import resolve_command, resolve_environment
from memory_operator.local.process_target import Turn, next_restart
from memory_operator.local.replica import last_words, pause_after
from memory_operator.local.resources import parse_namespace
from memory_operator.specs.workload import Workload

HEAD = "apiVersion: memory.somafractal.io/v1alpha1\nkind: MemoryNamespace\nmetadata: {name: research}\n"


def pod(container: dict[str, object]) -> Workload:
    template = {"spec": {"containers": [{"command": ["python", "-m", "x"], **container}]}}
    return Workload(
        config_map={"metadata": {"name": "plain"}, "data": {"A": "config", "B": "config"}},
        secret={"metadata": {"name": "hidden"}, "stringData": {"B": "secret", "C": "secret"}},
        deployment={"spec": {"template": template}},
        service={},
    )


def test_a_later_source_wins_over_an_earlier_one_and_env_over_both():
    both = [{"configMapRef": {"name": "plain"}}, {"secretRef": {"name": "hidden"}}]

    resolved = resolve_environment(pod({"envFrom": both, "env": [{"name": "C", "value": "env"}]}))

    assert resolved == {"A": "config", "B": "secret", "C": "env"}
    assert resolve_environment(pod({"envFrom": both[::-1]})) == {"A": "config", "B": "config", "C": "secret"}


@pytest.mark.parametrize(
    "container",
    [
        {"envFrom": [{"configMapRef": {"name": "other"}}]},
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
    ],
    ids=["an object that is not there", "a value that only a cluster knows"],
)
def test_what_cannot_be_resolved_is_refused(container):
    with pytest.raises(Rejected):
        resolve_environment(pod(container))


def test_python_is_the_interpreter_that_runs_this_program():
    assert resolve_command(pod({})) == (sys.executable, "-m", "x")
    assert resolve_command(pod({"command": ["/bin/true"]})) == ("/bin/true",)


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


def test_an_address_of_a_database_is_taken_apart():
    found = parse_admin_url("postgresql://ad%40min:se%2Fcret@db.example.com/mem%20ory?sslmode=require")

    assert (found.host, found.port, found.name, found.ssl_mode) == ("db.example.com", 5432, "mem ory", "require")
    assert (found.administrator.user, found.administrator.password) == ("ad@min", "se/cret")


@pytest.mark.parametrize(
    "url",
    ["", "mysql://a:b@c/d", "postgresql://host/db", "postgresql://a:b@host", "postgresql://a:b@host:x/db",
     "postgresql://a:b@host/db?sslmode=maybe"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(Rejected, match="--postgres-url"):
        parse_admin_url(url)
