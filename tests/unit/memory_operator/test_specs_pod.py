"""The pods: settings, restrictions, start and end, and what a namespace may change."""

import json

import pytest
from tenants import CERTIFICATE, container, decoded, template, workload

from memory_contracts.settings import (
    LIVENESS_PATH,
    READINESS_PATH,
    SHUTDOWN_SECONDS,
    RuntimeSettings,
    load_settings,
    unknown_variables,
)
from memory_operator.local.pod_environment import resolve_environment
from memory_operator.specs.pod import CONFIG_HASH


def pod(built):
    return template(built)["spec"]


def test_the_process_reads_back_the_settings_that_were_meant():
    read = load_settings(resolve_environment(workload(embedding={"provider": "hash", "dimensions": 128})))

    assert read == RuntimeSettings(
        namespace="team-a/research",
        host="0.0.0.0",
        port=9595,
        token="the-token-of-the-team",
        postgres_url="postgresql://mem_team_a_research_2aee086f_a:first%2Fpass%40word-in-use@db.example.com:5432/soma",
        postgres_schema="mem_team_a_research_2aee086f",
        postgres_ssl_mode="require",
        migrate_on_start=False,
        embedding_provider="hash",
        embedding_dimensions=128,
    )


@pytest.mark.parametrize(("state", "read_only"), [("Active", False), ("ReadOnly", True)])
def test_a_read_only_namespace_has_processes_that_refuse_to_write(state, read_only):
    assert load_settings(resolve_environment(workload(state=state))).read_only is read_only


def test_an_address_with_colons_is_bracketed():
    assert "@[fd00::1]:5432/" in decoded(workload(host="fd00::1").secret)["POSTGRES_URL"]


def test_certificates_are_files_where_the_settings_say():
    built = workload(ca=CERTIFICATE)
    (volume,) = [each for each in pod(built)["volumes"] if "configMap" in each]
    (mount,) = [each for each in container(built)["volumeMounts"] if each["name"] == volume["name"]]
    (item,) = volume["configMap"]["items"]

    assert volume["configMap"]["name"] == built.config_map["metadata"]["name"]
    assert built.config_map["data"][item["key"]] == CERTIFICATE
    assert built.config_map["data"]["POSTGRES_SSL_ROOT_CERT"] == f"{mount['mountPath']}/{item['path']}"
    assert mount["readOnly"] is True


def test_without_certificates_nothing_is_mounted_but_the_temporary_folder():
    built = workload()

    assert pod(built)["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert "POSTGRES_SSL_ROOT_CERT" not in built.config_map["data"]


def test_a_process_is_given_its_own_variables_and_no_other_key_of_the_objects():
    built = workload(ca=CERTIFICATE)
    given = resolve_environment_without_files(built)

    assert "envFrom" not in container(built)
    assert unknown_variables(given) == []
    assert not {"postgres-ca.crt", "slot", "api-token", "postgres-password-b"} & set(given)
    assert "second-password-waits" not in json.dumps(given)


def resolve_environment_without_files(built):
    built.deployment["spec"]["template"]["spec"]["volumes"] = []
    return resolve_environment(built)


def test_secrets_are_in_secrets_and_nowhere_else():
    built = workload()
    others = json.dumps([each for each in built.children if each["kind"] != "Secret"]) + repr(built)

    for secret in (
        "the-token-of-the-team",
        "first/pass",
        "first%2Fpass",
        "second-password-waits",
        built.secret["data"]["api-token"],
    ):
        assert secret not in others


def test_services_of_the_neighbourhood_set_no_variables():
    assert pod(workload())["enableServiceLinks"] is False


def test_the_pod_runs_the_runtime_of_the_clusters_image_under_an_account_without_rights():
    built = workload()
    api = container(built)

    assert (api["name"], api["image"], api["imagePullPolicy"]) == ("api", "registry/memory:1", "IfNotPresent")
    assert api["command"] == ["python", "-m", "memory_runtime"]
    assert {"name": "OPENBLAS_NUM_THREADS", "value": "1"} in api["env"]
    assert pod(built)["serviceAccountName"] == built.service_account["metadata"]["name"]
    assert pod(built)["automountServiceAccountToken"] is built.service_account["automountServiceAccountToken"] is False


def test_the_pod_security_standard_restricted_is_kept():
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    built = workload(ca=CERTIFICATE)
    whole, own = pod(built)["securityContext"], container(built)["securityContext"]

    assert whole["runAsNonRoot"] is True
    assert whole["runAsUser"] > 0
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert {kind for each in pod(built)["volumes"] for kind in each} - {"name"} <= {"emptyDir", "configMap"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod(built))
    assert all("hostPort" not in port for port in container(built)["ports"])


def test_probes_ask_where_the_server_answers():
    api = container(workload())

    asked = {name: api[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startup": READINESS_PATH,
        "readiness": READINESS_PATH,
        "liveness": LIVENESS_PATH,
    }
    assert {get["port"] for get in asked.values()} == {api["ports"][0]["name"]}


def test_a_roll_out_takes_no_pod_away_before_another_answers():
    spec = workload().deployment["spec"]
    startup = container(workload())["startupProbe"]

    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert spec["minReadySeconds"] > 0
    # A namespace that takes long to load is not reported as stuck while it may still load.
    assert spec["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]


def test_a_pod_has_time_to_be_forgotten_and_to_finish_before_it_is_killed():
    built = workload()
    pause = container(built)["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert pause > 0
    assert pod(built)["terminationGracePeriodSeconds"] > pause + SHUTDOWN_SECONDS


MINE = {"requests": {"cpu": "2", "memory": "4Gi"}}


@pytest.mark.parametrize(
    ("api", "resources"),
    [
        ({}, {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}),
        ({"resources": MINE}, MINE),
        ({"resources": {}}, {}),
    ],
    ids=["the cluster's", "its own", "none"],
)
def test_resources_are_the_namespaces_or_the_clusters(api, resources):
    assert container(workload(api=api))["resources"] == resources


def test_pods_are_spread_over_nodes_and_zones_as_far_as_possible():
    built = workload()
    spread = pod(built)["topologySpreadConstraints"]

    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for each in spread:
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"
        assert each["labelSelector"]["matchLabels"].items() <= template(built)["metadata"]["labels"].items()


OVERRIDES = {
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
    "imagePullSecrets": [{"name": "pull"}],
}


@pytest.mark.parametrize("field", OVERRIDES)
def test_a_namespace_may_set_where_its_pods_run(field):
    plain, changed = pod(workload()), pod(workload(api={"podTemplate": {"spec": {field: OVERRIDES[field]}}}))

    assert changed == plain | {field: OVERRIDES[field]}


def test_labels_and_annotations_are_added_but_the_operators_own_win():
    own = {"app.kubernetes.io/name": "mine", "app.kubernetes.io/managed-by": "me", "team": "blue"}
    notes = {CONFIG_HASH: "mine", "note": "ours"}
    plain = template(workload())["metadata"]
    changed = template(workload(api={"podTemplate": {"metadata": {"labels": own, "annotations": notes}}}))["metadata"]

    assert changed["labels"] == plain["labels"] | {"team": "blue"}
    assert changed["annotations"] == plain["annotations"] | {"note": "ours"}
