"""What the operator remembers of Kubernetes, and who is affected when something there changes."""

from copy import deepcopy
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenants import workload

from memory_operator.keys import Key
from memory_operator.kube import ends
from memory_operator.kube.cache import Cache
from memory_operator.kube.entries import decode_secret
from memory_operator.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    MEMORY_CLUSTER,
    MEMORY_NAMESPACE,
    NAMESPACE,
    SECRET,
    SERVICE,
    kind_of,
)
from memory_operator.specs.labels import MANAGED_BY, NAMESPACE_LABEL, WATCH_LABEL

TENANT, OTHER = (Key("MemoryNamespace", "team-a", name) for name in ("research", "notes"))
CLUSTER = Key("MemoryCluster", "memory-system", "default")
ADMIN = {"postgres": {"external": {"host": "db", "adminSecretRef": {"name": "admin"}}}}
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def cache() -> Cache:
    return Cache()


def resource(key: Key, version: int = 1, *, uid: str = "first", **parts: Any) -> dict[str, Any]:
    """One of our resources; `parts` are its spec, status, and more metadata."""
    metadata = {
        "namespace": key.namespace,
        "name": key.name,
        "uid": uid,
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-11-01T12:00:00Z",
    }
    return {
        "metadata": metadata | parts.pop("metadata", {}),
        "spec": {"clusterRef": {"name": "default", "namespace": "memory-system"}},
        **parts,
    }


def child(manifest: dict[str, Any], version: int = 1, *, uid: str = "child", **metadata: Any) -> dict[str, Any]:
    live = deepcopy(manifest)
    live["metadata"] |= {"uid": uid, "resourceVersion": str(version)} | metadata
    return live


def secret(name: str, version: int = 1, *, watched: bool = True, uid: str = "s", **data: str) -> dict[str, Any]:
    labels = {WATCH_LABEL: "true"} if watched else {}
    metadata = {"namespace": "team-a", "name": name, "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "data": data, "type": "Opaque"}


def kubernetes_namespace(version: int = 1, *, name: str = "team-a", uid: str = "n", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version), **more}}


BUILT = workload()


# --- our own resources ------------------------------------------------------------------------------------------------


def test_a_new_object_is_news_and_can_be_read_back(cache):
    body = resource(TENANT, 5, status={"endpoint": "http://x"})

    assert cache.see(MEMORY_NAMESPACE, body) == {TENANT}

    entry = cache.entry(TENANT)
    assert (entry.uid, entry.version, entry.generation, entry.deleting) == ("first", 5, 1, False)
    assert entry.body["spec"] == body["spec"]
    assert entry.body["status"] == {"endpoint": "http://x"}
    assert (entry.body["apiVersion"], entry.body["kind"]) == ("memory.somafractal.io/v1alpha1", "MemoryNamespace")


@pytest.mark.parametrize("version", [4, 5], ids=["older", "the same"])
def test_a_version_that_is_not_newer_is_ignored(cache, version):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 5))

    assert cache.see(MEMORY_NAMESPACE, resource(TENANT, version, metadata={"generation": 2})) == set()
    assert cache.entry(TENANT).generation == 1


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({"status": {"endpoint": "http://x"}}, False),
        ({"metadata": {"managedFields": [{"manager": "x"}]}}, False),
        ({"metadata": {"annotations": {"kubectl": "x"}}}, False),
        ({"metadata": {"generation": 2}}, True),
        ({"metadata": {"deletionTimestamp": "2026-11-01T12:00:00Z"}}, True),
        ({"metadata": {"finalizers": ["x/y"]}}, True),
        ({"metadata": {"labels": {"a": "b"}}}, True),
    ],
    ids=["status", "managed fields", "annotation", "specification", "deletion", "finalizer", "label"],
)
def test_only_what_was_not_our_own_writing_is_news(cache, change, news):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 1))

    assert cache.see(MEMORY_NAMESPACE, resource(TENANT, 2, **change)) == ({TENANT} if news else set())
    assert cache.entry(TENANT).version == 2


def test_an_object_made_anew_is_news_although_it_looks_the_same(cache):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 1))

    assert cache.see(MEMORY_NAMESPACE, resource(TENANT, 9, uid="second")) == {TENANT}
    assert cache.entry(TENANT).uid == "second"


def test_the_end_of_the_first_object_does_not_take_the_second_away(cache):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 1))
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 9, uid="second"))

    assert cache.lose(MEMORY_NAMESPACE, resource(TENANT, 8)) == set()
    assert cache.entry(TENANT).uid == "second"


def test_what_is_gone_stays_gone_when_older_news_of_it_come_late(cache):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 1))
    assert cache.lose(MEMORY_NAMESPACE, resource(TENANT, 7)) == {TENANT}

    assert cache.see(MEMORY_NAMESPACE, resource(TENANT, 6)) == set()
    assert cache.entry(TENANT) is None


def test_it_knows_whether_an_object_says_that_it_is_ready(cache):
    for version, status in enumerate(["True", "False", "Unknown"], start=1):
        cache.see(
            MEMORY_NAMESPACE, resource(TENANT, version, status={"conditions": [{"type": "Ready", "status": status}]})
        )
        assert cache.entry(TENANT).ready == (status == "True")
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 9))
    assert not cache.entry(TENANT).ready


# --- who refers to what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "cluster"),
    [
        ({"clusterRef": {"name": "big", "namespace": "infra"}}, Key("MemoryCluster", "infra", "big")),
        ({"clusterRef": {"name": "big"}}, Key("MemoryCluster", "team-a", "big")),
        ({"clusterRef": {"name": "big", "namespace": None}}, Key("MemoryCluster", "team-a", "big")),
        ({"clusterRef": {}}, Key("MemoryCluster", "team-a", "default")),
        ({}, Key("MemoryCluster", "team-a", "default")),
    ],
)
def test_a_reference_leads_to_its_cluster_whether_that_exists_or_not(cache, reference, cluster):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, spec=reference))

    assert cache.users_of(cluster) == {TENANT}
    assert cache.entry(TENANT).cluster == cluster


def test_the_index_of_clusters_follows_edits_and_deletions(cache):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 1))
    cache.see(MEMORY_NAMESPACE, resource(OTHER, 1, uid="other"))
    assert cache.users_of(CLUSTER) == {TENANT, OTHER}

    cache.see(MEMORY_NAMESPACE, resource(TENANT, 2, uid="again", spec={"clusterRef": {"name": "mine"}}))
    assert cache.users_of(CLUSTER) == {OTHER}
    assert cache.users_of(Key("MemoryCluster", "team-a", "mine")) == {TENANT}

    cache.lose(MEMORY_NAMESPACE, resource(OTHER, 3, uid="other"))
    assert cache.users_of(CLUSTER) == set()


def test_every_secret_of_a_cluster_leads_back_to_it(cache):
    tls = {"caSecretRef": {"name": "ca"}}
    spec = {
        "postgres": {"external": {"adminSecretRef": {"name": "pg"}, "tls": tls}},
        "qdrant": {"external": {"apiKeySecretRef": {"name": "qd"}, "tls": tls}},
        "kafka": {"external": {"sasl": {"secretRef": {"name": "kf"}}}},
        "redis": {"external": {"adminSecretRef": {"name": "rd"}}},
    }
    cache.see(MEMORY_CLUSTER, resource(CLUSTER, spec=spec))

    assert cache.entry(CLUSTER).secrets == {("memory-system", name) for name in ("pg", "ca", "qd", "kf", "rd")}
    assert cache.entry(CLUSTER).cluster is None
    for name in ("pg", "ca", "qd", "kf", "rd"):
        assert cache.readers_of("memory-system", name) == {CLUSTER}
        assert cache.readers_of("team-a", name) == set(), "a reference never leaves its namespace"


def test_the_index_of_secrets_follows_edits_and_deletions(cache):
    def token(name: str) -> dict[str, Any]:
        return {"api": {"auth": {"tokenSecretRef": {"name": name}}}}

    cache.see(MEMORY_NAMESPACE, resource(TENANT, 1, spec=token("old")))
    cache.see(MEMORY_NAMESPACE, resource(OTHER, 2, uid="other", spec=token("old")))
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 3, spec=token("new")))

    assert cache.readers_of("team-a", "old") == {OTHER}
    assert cache.readers_of("team-a", "new") == {TENANT}
    cache.lose(MEMORY_NAMESPACE, resource(TENANT, 4))
    assert cache.readers_of("team-a", "new") == set()


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(cache) -> Key:
    """A tenant whose tokens are in the Secret ``theirs``."""
    cache.see(MEMORY_NAMESPACE, resource(TENANT, spec={"api": {"auth": {"tokenSecretRef": {"name": "theirs"}}}}))
    return TENANT


def test_a_secret_concerns_those_who_refer_to_it(cache, reader):
    assert cache.see(SECRET, secret("theirs", 1, token="YQ==")) == {reader}
    assert cache.see(SECRET, secret("theirs", 2, token="YQ==")) == set(), "its values are the same"
    assert cache.see(SECRET, secret("theirs", 3, token="Yg==")) == {reader}
    assert cache.see(SECRET, secret("theirs", 2, token="YQ==")) == set(), "it is older"
    assert cache.secret("team-a", "theirs").data == {"token": "Yg=="}
    assert cache.see(SECRET, secret("another", 4)) == set()


def test_a_secret_that_goes_concerns_them_too(cache, reader):
    cache.see(SECRET, secret("theirs", 1))

    assert cache.lose(SECRET, secret("theirs", 2)) == {reader}
    assert cache.secret("team-a", "theirs") is None


def test_the_end_of_a_former_secret_does_not_take_the_present_one_away(cache, reader):
    cache.see(SECRET, secret("theirs", 5, uid="second"))

    assert cache.lose(SECRET, secret("theirs", 4, uid="first")) == set()
    assert cache.secret("team-a", "theirs").uid == "second"


def test_a_secret_that_is_not_watched_is_not_kept(cache, reader):
    """It came as the answer to a question, and nobody would tell of its next change."""
    assert cache.see(SECRET, secret("theirs", 1, watched=False)) == set()
    assert cache.secret("team-a", "theirs") is None


def test_a_secret_whose_label_was_taken_away_is_no_longer_kept(cache, reader):
    cache.see(SECRET, secret("theirs", 1))

    assert cache.see(SECRET, secret("theirs", 2, watched=False)) == {reader}
    assert cache.secret("team-a", "theirs") is None


def test_a_secret_that_gets_its_label_back_is_seen_again(cache, reader):
    """Of one without the label the watch says that it was deleted."""
    cache.see(SECRET, secret("theirs", 1))
    cache.lose(SECRET, secret("theirs", 2))

    assert cache.see(SECRET, secret("theirs", 3)) == {reader}
    assert cache.secret("team-a", "theirs").version == 3


def test_secrets_do_not_show_themselves(cache):
    cache.see(SECRET, secret("theirs", 1, token="YSBzZWNyZXQ="))

    assert "YSBzZWNyZXQ=" not in repr(cache.secret("team-a", "theirs"))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"a": "aGVsbG8="}, {"a": "hello"}),
        ({"a": ""}, {"a": ""}),
        ({"a": "/w=="}, {}),
        ({"a": "not base64!"}, {}),
        ({"a": None, "b": "aGVsbG8="}, {"b": "hello"}),
    ],
    ids=["text", "empty", "not UTF-8", "not base64", "null"],
)
def test_what_is_no_text_is_left_out(data, text):
    assert decode_secret(data) == text


# --- children ---------------------------------------------------------------------------------------------------------


def test_a_child_concerns_its_owner_when_it_is_more_than_a_status(cache):
    assert cache.see(SERVICE, child(BUILT.service, 1)) == {TENANT}
    assert cache.see(SERVICE, child(BUILT.service, 2) | {"status": {"loadBalancer": {}}}) == set()
    changed = child(BUILT.service, 3)
    changed["spec"]["type"] = "NodePort"
    assert cache.see(SERVICE, changed) == {TENANT}
    assert cache.see(SERVICE, child(BUILT.service, 2)) == set(), "it is older"
    found = cache.child(TENANT, SERVICE, "research-api")
    assert (found.version, found.uid, found.owner_uid) == (3, "child", "0d5c7b9e")


def test_children_are_found_by_their_owner(cache):
    for number, manifest in enumerate(BUILT.children):
        cache.see(kind_of(manifest), child(manifest, number + 1, uid=f"child-{number}"))

    assert [each.name for each in cache.children(TENANT)] == [each["metadata"]["name"] for each in BUILT.children]
    assert cache.children(OTHER) == []
    assert cache.child(TENANT, DEPLOYMENT, "research-api").kind is DEPLOYMENT
    assert cache.child(OTHER, DEPLOYMENT, "research-api") is None


@pytest.mark.parametrize("label", [MANAGED_BY, NAMESPACE_LABEL])
def test_a_child_without_its_labels_is_missed_by_its_owner(cache, label):
    cache.see(SERVICE, child(BUILT.service, 1))
    stripped = child(BUILT.service, 2)
    del stripped["metadata"]["labels"][label]

    assert cache.see(SERVICE, stripped) == {TENANT}
    assert cache.child(TENANT, SERVICE, "research-api") is None


def test_a_child_that_somebody_labels_for_another_concerns_both(cache):
    """Regression: the first owner went on to believe that all was as he had left it."""
    cache.see(SERVICE, child(BUILT.service, 1))
    moved = child(BUILT.service, 2)
    moved["metadata"]["labels"][NAMESPACE_LABEL] = "notes"

    assert cache.see(SERVICE, moved) == {TENANT, OTHER}
    assert cache.children(TENANT) == []
    assert [each.name for each in cache.children(OTHER)] == ["research-api"]


def test_a_child_that_gets_its_labels_back_is_seen_again(cache):
    """Regression: of one without the label the watch says that it was deleted, and it was never believed in again."""
    cache.see(SERVICE, child(BUILT.service, 1))
    assert cache.lose(SERVICE, child(BUILT.service, 2)) == {TENANT}

    assert cache.see(SERVICE, child(BUILT.service, 2)) == set(), "that is the state without the label"
    assert cache.see(SERVICE, child(BUILT.service, 3)) == {TENANT}
    assert cache.child(TENANT, SERVICE, "research-api").version == 3


def test_late_news_of_its_end_do_not_take_a_child_away_that_is_back(cache):
    """The answer to our own write is faster than the watch."""
    cache.see(SERVICE, child(BUILT.service, 3))

    assert cache.lose(SERVICE, child(BUILT.service, 2)) == set()
    assert cache.child(TENANT, SERVICE, "research-api").version == 3


def test_a_child_that_is_gone_concerns_its_owner_even_when_its_last_state_had_no_labels(cache):
    cache.see(SERVICE, child(BUILT.service, 1))
    last = child(BUILT.service, 2, labels={})

    assert cache.lose(SERVICE, last) == {TENANT}
    assert cache.children(TENANT) == []


def test_a_child_made_anew_is_news_and_the_end_of_the_former_is_none(cache):
    cache.see(SERVICE, child(BUILT.service, 1))

    assert cache.see(SERVICE, child(BUILT.service, 5, uid="second")) == {TENANT}
    assert cache.lose(SERVICE, child(BUILT.service, 4)) == set()
    assert cache.child(TENANT, SERVICE, "research-api").uid == "second"


def test_an_object_without_our_labels_is_nobodys(cache):
    body = child(BUILT.service, 1, labels={"app": "x"})

    assert cache.see(SERVICE, body) == set()
    assert cache.lose(SERVICE, body) == set()


def test_a_child_that_cannot_go_says_what_holds_it(cache):
    cache.see(SERVICE, child(BUILT.service, 1))
    assert cache.child(TENANT, SERVICE, "research-api").stuck == ""

    leaving = child(BUILT.service, 2, deletionTimestamp="now", finalizers=["a/b", "c/d"])
    assert cache.see(SERVICE, leaving) == {TENANT}
    assert cache.child(TENANT, SERVICE, "research-api").stuck == "a/b, c/d"


def test_the_credentials_are_a_child_and_a_secret_at_once(cache):
    assert cache.see(SECRET, child(BUILT.secret, 1)) == {TENANT}

    assert cache.child(TENANT, SECRET, "research-credentials")
    kept = cache.secret("team-a", "research-credentials")
    assert (kept.owner_uid, set(kept.data)) == ("0d5c7b9e", set(BUILT.secret["data"]))
    assert cache.lose(SECRET, child(BUILT.secret, 2)) == {TENANT}
    assert cache.secret("team-a", "research-credentials") is None


def test_of_our_own_secrets_only_those_are_kept_that_are_read_back(cache):
    cache.see(SECRET, child(BUILT.binding, 1))

    assert cache.secret("team-a", "research-binding").data == {}


# --- facts ------------------------------------------------------------------------------------------------------------


def deployment(version: int, *, conditions=(), **status: int) -> dict[str, Any]:
    return child(BUILT.deployment, version, generation=4) | {"status": {**status, "conditions": list(conditions)}}


def test_the_counts_of_a_deployment_are_news(cache):
    cache.see(DEPLOYMENT, deployment(1, replicas=1))

    assert cache.see(DEPLOYMENT, deployment(2, replicas=1, readyReplicas=1)) == {TENANT}
    assert cache.see(DEPLOYMENT, deployment(3, replicas=1, readyReplicas=1, availableReplicas=1)) == set()
    assert cache.child(TENANT, DEPLOYMENT, "research-api").facts == {
        "replicas": 1,
        "readyReplicas": 1,
        "updatedReplicas": 0,
        "observedGeneration": 0,
        "generation": 4,
        "wanted": 1,
        "problems": {},
    }


@pytest.mark.parametrize(
    ("condition", "problems"),
    [
        (
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
            {"ReplicaFailure": "exceeded quota"},
        ),
        ({"type": "ReplicaFailure", "status": "False", "message": "it was once"}, {}),
        (
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"},
            {"Progressing": "late"},
        ),
        ({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "going on"}, {}),
        ({"type": "Available", "status": "False", "message": "not enough"}, {}),
    ],
)
def test_of_the_conditions_of_a_deployment_those_count_that_do_not_heal_by_themselves(cache, condition, problems):
    cache.see(DEPLOYMENT, deployment(1, conditions=[condition]))

    assert cache.child(TENANT, DEPLOYMENT, "research-api").facts["problems"] == problems


def endpoints(version: int, *ready: bool | None) -> dict[str, Any]:
    labels = BUILT.service["metadata"]["labels"] | {"kubernetes.io/service-name": "research-api"}
    metadata = {"namespace": "team-a", "name": "research-api-x7", "uid": "e", "resourceVersion": str(version)}
    conditions = [{} if each is None else {"conditions": {"ready": each}} for each in ready]
    return {"metadata": metadata | {"labels": labels}, "endpoints": conditions}


def test_endpoints_are_counted_for_their_service(cache):
    assert cache.see(ENDPOINT_SLICE, endpoints(1, True, False)) == {TENANT}
    assert cache.see(ENDPOINT_SLICE, endpoints(2, False, True)) == set(), "as many as before"
    assert cache.see(ENDPOINT_SLICE, endpoints(3, True, True)) == {TENANT}

    (found,) = cache.children(TENANT)
    assert found.facts == {"service": "research-api", "ready": 2, "leaving": 0}


def test_a_pod_that_ends_counts_as_leaving_until_it_is_gone(cache):
    ending = {"conditions": {"ready": False, "serving": True, "terminating": True}}
    slice_of_two = endpoints(1, True)
    cache.see(ENDPOINT_SLICE, slice_of_two | {"endpoints": [*slice_of_two["endpoints"], ending]})

    assert (cache.children(TENANT)[0].facts["ready"], cache.children(TENANT)[0].facts["leaving"]) == (1, 1)
    assert cache.see(ENDPOINT_SLICE, endpoints(2, True)) == {TENANT}, "what waits for it goes on"
    assert cache.children(TENANT)[0].facts["leaving"] == 0


def test_an_endpoint_that_does_not_say_otherwise_is_ready(cache):
    cache.see(ENDPOINT_SLICE, endpoints(1, None, True, False))

    assert cache.children(TENANT)[0].facts["ready"] == 2


@pytest.mark.parametrize("empty", [None, []])
def test_a_service_without_pods_has_no_endpoints(cache, empty):
    cache.see(ENDPOINT_SLICE, endpoints(1) | {"endpoints": empty})

    assert cache.children(TENANT)[0].facts["ready"] == 0


# --- Kubernetes namespaces --------------------------------------------------------------------------------------------


def test_a_namespace_concerns_the_objects_in_it_when_its_labels_or_its_life_change(cache):
    cache.see(MEMORY_NAMESPACE, resource(TENANT))
    cache.see(MEMORY_NAMESPACE, resource(Key("MemoryNamespace", "team-b", "notes"), uid="b"))

    assert cache.see(NAMESPACE, kubernetes_namespace(1, labels={"team": "a"})) == {TENANT}
    assert cache.see(NAMESPACE, kubernetes_namespace(2, labels={"team": "a"}, annotations={"x": "y"})) == set()
    assert cache.see(NAMESPACE, kubernetes_namespace(3, labels={"team": "b"})) == {TENANT}
    assert cache.see(NAMESPACE, kubernetes_namespace(2, labels={"team": "a"})) == set(), "it is older"
    assert cache.namespace_labels("team-a") == {"team": "b"}
    assert not cache.namespace_terminating("team-a")
    leaving = kubernetes_namespace(4, labels={"team": "b"}, deletionTimestamp="now")
    assert cache.see(NAMESPACE, leaving) == {TENANT}
    assert cache.namespace_terminating("team-a")


def test_labels_that_were_not_seen_are_not_taken_for_none(cache):
    assert cache.namespace_labels("team-a") is None
    cache.see(NAMESPACE, kubernetes_namespace())
    assert cache.namespace_labels("team-a") == {}
    cache.lose(NAMESPACE, kubernetes_namespace(2))
    assert cache.namespace_labels("team-a") is None
    assert not cache.namespace_terminating("team-a")


# --- listings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [5, 9], ids=["as old as the listing", "long before it"])
@pytest.mark.parametrize(
    ("kind", "body", "affected"),
    [
        (MEMORY_NAMESPACE, resource(TENANT, 5), {TENANT}),
        (MEMORY_CLUSTER, resource(CLUSTER, 5, spec=ADMIN), {CLUSTER}),
        (SERVICE, child(BUILT.service, 5), {TENANT}),
        (SECRET, child(BUILT.secret, 5), {TENANT}),
        (SECRET, secret("theirs", 5), set()),
        (NAMESPACE, kubernetes_namespace(5), set()),
        (ENDPOINT_SLICE, endpoints(5, True), {TENANT}),
    ],
    ids=["tenant", "cluster", "child", "credentials", "a Secret of theirs", "namespace", "endpoints"],
)
def test_what_a_later_listing_does_not_hold_is_gone(cache, kind, body, affected, version):
    cache.see(kind, body)

    assert cache.drop_ghosts(kind, set(), version) == affected
    assert (cache.entry(TENANT), cache.entry(CLUSTER), cache.children(TENANT)) == (None, None, [])
    assert cache.secret("team-a", "theirs") is None
    assert cache.namespace_labels("team-a") is None


def test_a_secret_of_theirs_that_is_gone_concerns_its_readers(cache, reader):
    cache.see(SECRET, secret("theirs", 5))

    assert cache.drop_ghosts(SECRET, set(), 6) == {reader}


def test_what_is_listed_stays_and_so_does_what_is_newer_than_the_listing(cache):
    cache.see(MEMORY_NAMESPACE, resource(TENANT, 5))
    cache.see(MEMORY_NAMESPACE, resource(OTHER, 7, uid="other"))

    assert cache.drop_ghosts(MEMORY_NAMESPACE, {("team-a", "research")}, 6) == set()
    assert cache.entry(TENANT)
    assert cache.entry(OTHER)


def test_a_listing_says_nothing_about_other_kinds(cache):
    cache.see(SERVICE, child(BUILT.service, 1))
    cache.see(CONFIG_MAP, child(BUILT.config_map, 1, uid="map"))

    cache.drop_ghosts(CONFIG_MAP, set(), 9)

    assert [each.kind for each in cache.children(TENANT)] == [SERVICE]


def test_the_memory_of_what_is_gone_has_a_limit(cache, monkeypatch):
    monkeypatch.setattr(ends, "REMEMBERED_ENDS", 2)
    for uid in ("1", "2", "3"):
        cache.lose(SERVICE, child(BUILT.service, 5, uid=uid))

    seen = {uid for uid in ("1", "2", "3") if cache.see(SERVICE, child(BUILT.service, 4, uid=uid))}

    assert seen == {"1"}


# --- whatever happens -------------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["see", "lose"]),
        st.sampled_from(["team-a", "team-b"]),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["default", "other"]),
        st.sampled_from(["theirs", "ours", None]),
    ),
    max_size=30,
)


@unhurried
@given(EVENTS)
def test_the_indexes_always_say_what_the_entries_say(events):
    cache, version = Cache(), count(1)
    for what, namespace, name, cluster, token in events:
        key = Key("MemoryNamespace", namespace, name)
        spec = {"clusterRef": {"name": cluster}} | ({"api": {"tokenSecretRef": {"name": token}}} if token else {})
        known = cache.entry(key)
        uid = known.uid if known else f"{key}-{next(version)}"
        getattr(cache, what)(MEMORY_NAMESPACE, resource(key, next(version), uid=uid, spec=spec))

    entries = dict(cache.entries(MEMORY_NAMESPACE))
    for namespace in ("team-a", "team-b"):
        for name in ("default", "other"):
            cluster = Key("MemoryCluster", namespace, name)
            assert cache.users_of(cluster) == {key for key, each in entries.items() if each.cluster == cluster}
        for name in ("theirs", "ours"):
            place = (namespace, name)
            assert cache.readers_of(*place) == {key for key, each in entries.items() if place in each.secrets}


@unhurried
@given(
    st.lists(st.tuples(st.sampled_from(["see", "lose", "strip"]), st.sampled_from(["research", "notes"])), max_size=30)
)
def test_a_child_is_always_its_present_owners_and_nobody_elses(events):
    cache, latest = Cache(), None
    for version, (what, owner) in enumerate(events, start=1):
        body = child(BUILT.service, version)
        body["metadata"]["labels"][NAMESPACE_LABEL] = owner
        if what == "strip":
            del body["metadata"]["labels"][MANAGED_BY]
        latest = owner if what == "see" else None
        (cache.lose if what == "lose" else cache.see)(SERVICE, body)

    assert [each.name for each in (TENANT, OTHER) if cache.children(each)] == ([latest] if latest else [])
