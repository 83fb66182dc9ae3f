"""The manifests: what Kubernetes and the local runner are told to run."""

import json

import pytest

from memory_contracts.settings import LIVENESS_PATH, READINESS_PATH, RuntimeSettings, load_settings
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.local.pod_environment import resolve_environment
from memory_operator.specs.deployment import CONFIG_HASH
from memory_operator.specs.environment import Credentials, Listen, build_environment
from memory_operator.specs.workload import Workload, build_workload

LISTEN = Listen("0.0.0.0", 9595)
CREDENTIALS = Credentials("api-token", "pass/word")


def namespace(**spec: object) -> MemoryNamespace:
    return MemoryNamespace.model_validate({"metadata": {"name": "research", "namespace": "team-a"}, "spec": spec})


def cluster(host: str = "db.example.com") -> MemoryCluster:
    external = {"host": host, "sslMode": "require", "adminSecretRef": {"name": "admin"}}
    return MemoryCluster.model_validate(
        {
            "metadata": {"name": "default", "namespace": "team-a"},
            "spec": {"postgres": {"external": external}, "defaults": {"image": "registry/memory:1"}},
        }
    )


def workload(listen: Listen = LISTEN, **spec: object) -> Workload:
    return build_workload(namespace(**spec), cluster(), listen, CREDENTIALS)


def container(built: Workload):
    return built.deployment["spec"]["template"]["spec"]["containers"][0]


def test_the_process_reads_back_the_settings_that_were_meant():
    read = load_settings(resolve_environment(workload(embedding={"provider": "hash", "dimensions": 128})))

    assert read == RuntimeSettings(
        namespace="team-a/research",
        host="0.0.0.0",
        port=9595,
        token="api-token",
        postgres_url="postgresql://mem_team_a_research_2aee086f_a:pass%2Fword@db.example.com:5432/soma",
        postgres_schema="mem_team_a_research_2aee086f",
        postgres_ssl_mode="require",
        migrate_on_start=False,
        embedding_provider="hash",
        embedding_dimensions=128,
    )


def test_an_address_with_colons_is_bracketed():
    environment = build_environment(namespace(), cluster("fd00::1"), LISTEN, CREDENTIALS)

    assert "@[fd00::1]:5432/" in environment.secret["POSTGRES_URL"]


def test_secrets_are_in_the_secret_and_nowhere_else():
    built = workload()

    assert set(built.secret["stringData"]) == {"SOMA_API_TOKEN", "POSTGRES_URL"}
    for manifest in (built.config_map, built.deployment, built.service):
        assert "api-token" not in json.dumps(manifest)
        assert "word" not in json.dumps(manifest).replace("password", "")
    assert "api-token" not in repr(CREDENTIALS)


def test_the_deployment_runs_the_runtime_and_probes_it():
    built = workload(api={"replicas": 3})
    api = container(built)

    assert built.deployment["spec"]["replicas"] == 3
    assert (api["image"], api["command"]) == ("registry/memory:1", ["python", "-m", "memory_runtime"])
    assert api["readinessProbe"]["httpGet"]["path"] == READINESS_PATH
    assert api["livenessProbe"]["httpGet"]["path"] == LIVENESS_PATH
    assert api["ports"] == [{"name": "http", "containerPort": 9595, "protocol": "TCP"}]
    assert {"name": "OPENBLAS_NUM_THREADS", "value": "1"} in api["env"]


def test_service_and_deployment_select_the_same_pods():
    built = workload()
    pods = built.deployment["spec"]["template"]["metadata"]["labels"]

    for selector in (built.service["spec"]["selector"], built.deployment["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= pods.items()
    assert pods["app.kubernetes.io/managed-by"] == "memory-operator"


def test_all_objects_carry_the_tenants_namespace_and_the_names_it_refers_to():
    built = workload()
    sources = container(built)["envFrom"]

    assert {each["metadata"]["namespace"] for each in vars_of(built)} == {"team-a"}
    assert sources == [{"configMapRef": {"name": "research-api"}}, {"secretRef": {"name": "research-credentials"}}]
    assert built.config_map["metadata"]["name"] == "research-api"
    assert built.secret["metadata"]["name"] == "research-credentials"


def vars_of(built: Workload):
    return (built.config_map, built.secret, built.deployment, built.service)


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        ({}, False),
        ({"api": {"replicas": 5}}, False),
        ({"api": {"logLevel": "debug"}}, True),
        ({"embedding": {"provider": "hash"}}, True),
    ],
    ids=["nothing", "replicas", "log level", "embedding"],
)
def test_pods_are_replaced_when_their_environment_changes(change, replaced):
    def hash_of(built: Workload) -> str:
        return built.deployment["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH]

    assert (hash_of(workload()) != hash_of(workload(**change))) is replaced


def test_a_new_password_replaces_the_pods():
    before, after = (build_environment(namespace(), cluster(), LISTEN, Credentials("t", each)) for each in ("a", "b"))

    assert before.digest != after.digest


def test_the_same_input_gives_the_same_manifests():
    assert workload() == workload()
