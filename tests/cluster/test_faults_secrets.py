"""Secrets that are missing, incomplete, or edited by hand."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import asyncpg
import pytest
import redis
from faults import HEAL_SECONDS, SYSTEM, WATCH, Case, ask, kubernetes_namespace, new_case, remove_clusters, secret
from kube import Kube, eventually

# Far sooner than anything that looks by itself: what heals within it was seen by the watch.
AT_ONCE_SECONDS = 15.0
TOKEN = "a-token-that-somebody-brought-along"
ANOTHER_TOKEN = "another-token-that-takes-its-place"


@dataclass(frozen=True)
class Missing:
    """A Secret that the case needs and that is not there; `role` is its key in the case."""

    name: str
    role: str
    parts: tuple[str, ...] = ()
    arrange: Callable[[Case], None] = lambda case: None
    condition: str = "ClusterAccepted"
    backend: str = "PostgresReady"


def authority_apart(case: Case) -> None:
    """Let the authority come from a Secret of its own."""
    name = f"{case.name}-ca"
    case.secrets["ca"] = secret(name, **{"ca.crt": case.secrets["kafka"]["stringData"].pop("ca.crt")})
    case.cluster["kafka"]["external"]["tls"] = {"caSecretRef": {"name": name}}


def token(case: Case) -> None:
    name = f"{case.name}-token"
    case.secrets["token"] = secret(name, case.namespace, token=TOKEN)
    case.spec["api"] = {"auth": {"tokenSecretRef": {"name": name}}}


def watched(role: str) -> Callable[[Case], None]:
    """Label the Secret, and let nothing look at it by itself."""

    def arrange(case: Case) -> None:
        if role == "token":
            token(case)
        case.secrets[role]["metadata"]["labels"] = WATCH
        case.cluster["resync"] = {"interval": "10m"}

    return arrange


ROWS = [
    Missing("postgres-admin", "postgres"),
    Missing("qdrant-api-key", "qdrant", ("qdrant",), backend="QdrantReady"),
    Missing("redis-admin", "redis", ("redis",), backend="RedisReady"),
    Missing("kafka-login", "kafka", ("kafka",), backend="KafkaReady"),
    Missing("kafka-authority", "ca", ("kafka",), authority_apart, backend="KafkaReady"),
    Missing("token", "token", (), token, "CredentialsReady"),
    Missing("watched-admin", "postgres", (), watched("postgres")),
    Missing("watched-token", "token", (), watched("token"), "CredentialsReady"),
]


@pytest.fixture(scope="module")
def place(kube: Kube, operator) -> Iterator[str]:
    with kubernetes_namespace(kube, "secrets") as name:
        yield name


@pytest.fixture(scope="module")
def missing(kube: Kube, backends, kafka_tls_scram, place) -> Iterator[dict[str, Case]]:
    """Every row as a case, all applied at once, each without its Secret."""
    servers = replace(backends, kafka=kafka_tls_scram)
    cases = {}
    for row in ROWS:
        case = cases[row.name] = new_case(kube, place, row.name, servers, *row.parts, labels=None)
        row.arrange(case)
        case.withheld.add(row.role)
        case.apply()
    yield cases
    remove_clusters(kube, list(cases.values()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_missing_secret_is_named_and_nothing_is_made_without_it(missing, row):
    case = missing[row.name]
    name = case.secrets[row.role]["metadata"]["name"]

    told = case.wait(row.condition, "False", reason="SecretNotFound")

    assert f"Secret {name} " in told["message"]
    assert case.wait("Ready", "False")["reason"] == "SecretNotFound"
    if row.condition == "ClusterAccepted":
        assert f"Secret {name} " in case.wait_cluster(row.backend, "False", reason="SecretNotFound")["message"]
    assert case.child("Deployment") is None
    case.provide(row.role)  # the tests below wait for what comes of it


@pytest.mark.parametrize("name", ["watched-admin", "watched-token"])
def test_the_creation_of_a_labelled_secret_is_noticed_at_once(missing, name):
    missing[name].wait(seconds=AT_ONCE_SECONDS)


def test_a_secret_that_goes_is_told_and_nothing_is_torn_down(missing, kube):
    """The watch sees it go; what runs goes on, and is at once under control again when the Secret is back."""
    case = missing["watched-admin"]
    case.wait()
    deployment = case.child("Deployment")

    kube.delete("Secret", SYSTEM, case.secrets["postgres"]["metadata"]["name"])

    case.wait_cluster("PostgresReady", "False", reason="SecretNotFound", seconds=AT_ONCE_SECONDS)
    found = case.child("Deployment")
    assert (found["metadata"]["uid"], found["spec"]) == (deployment["metadata"]["uid"], deployment["spec"])
    case.provide("postgres")
    case.wait_cluster(seconds=AT_ONCE_SECONDS)
    case.wait()


# --- the Secret that the operator keeps -------------------------------------------------------------------------------

KEPT = ("api-token", "postgres-password-a", "redis-password", "slot", "POSTGRES_URL")
SECRET_KEYS = (*KEPT, "postgres-password-b")  # that of the slot that is not in use: the operator makes none


def to_a_good_value(data: dict[str, str]) -> dict[str, str | None]:
    return {key: _encoded(f"somebody-thought-of-{key}-himself") for key in SECRET_KEYS if "password" in key}


def to_garbage(data: dict[str, str]) -> dict[str, str | None]:
    return {key: base64.b64encode(b"\xff\x00 no text").decode() for key in SECRET_KEYS}


def to_something_short(data: dict[str, str]) -> dict[str, str | None]:
    return {key: _encoded("short") for key in SECRET_KEYS}


def to_another_url(data: dict[str, str]) -> dict[str, str | None]:
    return {"POSTGRES_URL": _encoded("postgresql://somebody:else@nowhere.invalid/other")}


def without_one_key(data: dict[str, str]) -> dict[str, str | None]:
    return {"postgres-password-a": None}


def without_any_key(data: dict[str, str]) -> dict[str, str | None]:
    return dict.fromkeys(data)


def to_the_other_slot(data: dict[str, str]) -> dict[str, str | None]:
    return {"slot": _encoded("b")}


EDITS = [to_a_good_value, to_garbage, to_something_short, to_another_url, without_one_key, without_any_key]
EDITS += [to_the_other_slot]


@pytest.fixture(scope="module")
def changed_token(kube: Kube, backends, place) -> Iterator[Case]:
    """A case that is Ready, and whose token somebody has then changed."""
    case = new_case(kube, place, "changed-token", backends)
    token(case)
    case.apply().wait()
    case.secrets["token"]["stringData"]["token"] = ANOTHER_TOKEN
    case.provide("token")
    yield case
    remove_clusters(kube, [case])


@pytest.fixture(scope="module")
def edited(kube: Kube, backends, place, changed_token) -> Iterator[Case]:
    case = new_case(kube, place, "edited", backends, "redis").apply()
    case.wait()
    yield case
    remove_clusters(kube, [case])


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_credentials_edited_by_hand_end_up_such_that_the_api_can_log_in(edited, backends, edit):
    """Whether the operator takes a usable value over or puts its own back is all the same, as long as all agree."""
    before = edited.child("Secret", "credentials")

    edited.edit_child("Secret", {"data": edit(before["data"])}, "credentials")

    eventually(lambda: _whole(edited, backends.redis), HEAL_SECONDS, lambda: str(_shape(edited)))
    edited.wait()
    edited.wait("Synced")
    assert _whole(edited, backends.redis)


# --- what takes its time, begun above ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_creation_of_a_missing_secret_is_noticed(missing, row):
    missing[row.name].wait(seconds=HEAL_SECONDS)


def test_tokens_that_somebody_changes_reach_the_processes(changed_token):
    """Although the Secret is not labelled, so that no watch tells of it."""
    eventually(lambda: _credentials(changed_token)["SOMA_API_TOKEN"] == ANOTHER_TOKEN, HEAL_SECONDS)


def _whole(case: Case, server) -> bool:
    """Whether all keys are there, say the same, and open both servers."""
    values = _credentials(case)
    if not values.keys() >= set(KEPT):
        return False
    return (
        values.get(f"postgres-password-{values['slot']}", "none such") in values["POSTGRES_URL"]
        and _opens_postgres(values)
        and _opens_redis(case, server)
    )


def _opens_postgres(values: dict[str, str]) -> bool:
    try:
        return bool(ask(values["POSTGRES_URL"], "select count(*) from memories"))
    except (asyncpg.PostgresError, ValueError, OSError):  # refused; no address at all; an address of nobody
        return False


def _opens_redis(case: Case, server) -> bool:
    names, password = case.names, _credentials(case)["redis-password"]
    address = server.connection
    client = redis.Redis(address.host, address.port, username=names.redis_user, password=password, protocol=2)
    try:
        return bool(client.set(f"{names.redis_prefix}seen", "yes"))
    except redis.AuthenticationError:
        return False
    finally:
        client.close()


def _credentials(case: Case) -> dict[str, str]:
    """Return what can be read of the Secret."""
    found = case.child("Secret", "credentials") or {}
    values = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    return {key: value.decode(errors="replace") for key, value in values.items()}


def _shape(case: Case) -> dict[str, int]:
    """Return the lengths of the values, for a failed test shall show no password."""
    return {key: len(value) for key, value in _credentials(case).items()}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
