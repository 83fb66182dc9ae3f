"""What local mode makes of a pod: the environment and command that Kubernetes would give its container."""

import base64
import sys
from dataclasses import replace

import pytest
from tenants import CERTIFICATE, container, workload

from memory_contracts.errors import Rejected
from memory_operator.local.pod_environment import resolve_command, resolve_environment
from memory_operator.specs.workload import Workload

PLAIN, HIDDEN = "research-api", "research-credentials"
BOTH = [{"configMapRef": {"name": PLAIN}}, {"secretRef": {"name": HIDDEN}}]


def pod(changes: dict[str, object]) -> Workload:
    """A workload whose container and objects are others."""
    built = workload()
    built.deployment["spec"]["template"]["spec"]["containers"] = [{"command": ["python", "-m", "x"], **changes}]
    secret = {key: base64.b64encode(b"secret").decode() for key in ("B", "C")}
    return replace(
        built,
        config_map=built.config_map | {"data": {"A": "config", "B": "config"}},
        secret=built.secret | {"data": secret},
    )


def key(kind: str, name: str, key: str) -> dict[str, object]:
    return {"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": key}}}]}


def test_a_later_source_wins_over_an_earlier_one_and_env_over_both():
    resolved = resolve_environment(pod({"envFrom": BOTH, "env": [{"name": "C", "value": "env"}]}))

    assert resolved == {"A": "config", "B": "secret", "C": "env"}
    assert resolve_environment(pod({"envFrom": BOTH[::-1]})) == {"A": "config", "B": "config", "C": "secret"}


@pytest.mark.parametrize(
    ("reference", "value"),
    [(key("configMapKeyRef", PLAIN, "A"), "config"), (key("secretKeyRef", HIDDEN, "B"), "secret")],
    ids=["ConfigMap", "Secret"],
)
def test_a_variable_may_be_one_key_of_an_object(reference, value):
    assert resolve_environment(pod(reference)) == {"X": value}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"envFrom": [{"configMapRef": {"name": "other"}}]}, "which is not part of the workload"),
        (key("configMapKeyRef", "other", "A"), "variable X: key A of ConfigMap other is not part of the workload"),
        (key("secretKeyRef", HIDDEN, "Z"), "variable X: key Z of Secret research-credentials is not part"),
        (key("secretKeyRef", PLAIN, "A"), "variable X: key A of Secret research-api is not part"),
        (
            {"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            "variable X: local mode resolves values and keys of ConfigMaps and Secrets only",
        ),
    ],
    ids=["source", "object", "key", "kind", "a value that only a cluster knows"],
)
def test_what_cannot_be_resolved_is_refused(changes, sentence):
    with pytest.raises(Rejected) as caught:
        resolve_environment(pod(changes))
    assert sentence in caught.value.detail


def test_files_are_refused_for_a_process_has_no_mounts():
    with pytest.raises(Rejected, match=r"local mode has no mounts; leave out .* \(tls.caSecretRef\)"):
        resolve_environment(workload(ca=CERTIFICATE))


def test_a_real_workload_is_resolved_to_the_last_variable():
    built = workload()

    assert set(resolve_environment(built)) == {each["name"] for each in container(built)["env"]}


def test_python_is_the_interpreter_that_runs_this_program():
    assert resolve_command(pod({})) == (sys.executable, "-m", "x")
    assert resolve_command(pod({"command": ["/bin/true"]})) == ("/bin/true",)
