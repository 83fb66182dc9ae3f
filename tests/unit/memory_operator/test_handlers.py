"""The kopf shell: what is watched, with which settings, and how it logs in."""

import base64
from typing import Any

import kopf
import pytest
from kubernetes.aio.client import Configuration
from tenants import CERTIFICATE, workload

from memory_operator.handlers import (
    SELECTORS,
    WATCHED,
    NoDiff,
    build_registry,
    build_settings,
    connection_info,
)
from memory_operator.kube.kinds import (
    CHILD_KINDS,
    CONFIG_MAP,
    ENDPOINT_SLICE,
    MEMORY_CLUSTER,
    MEMORY_NAMESPACE,
    NAMESPACE,
    SECRET,
    Kind,
    kind_of,
)
from memory_operator.specs.labels import WATCH_LABEL


def as_kopf(kind: Kind) -> kopf.Resource:
    version = kind.api_version.rpartition("/")[2]
    return kopf.Resource(kind.group, version, kind.plural, kind=kind.kind, namespaced=kind.namespaced)


# --- what is watched --------------------------------------------------------------------------------------------------


def test_everything_that_may_concern_us_is_watched_once():
    assert len(set(WATCHED)) == len(WATCHED)
    assert set(WATCHED) == {MEMORY_CLUSTER, MEMORY_NAMESPACE, NAMESPACE, ENDPOINT_SLICE, *CHILD_KINDS}


@pytest.mark.parametrize("kind", WATCHED, ids=lambda kind: kind.kind)
def test_the_server_sends_only_what_may_concern_us(kind):
    asked = set(build_settings().watching.label_selectors.collect(as_kopf(kind)))

    if kind in (MEMORY_CLUSTER, MEMORY_NAMESPACE, NAMESPACE):
        assert asked == set()
    elif kind is SECRET:
        assert asked == {WATCH_LABEL}
    else:
        assert asked == {"app.kubernetes.io/managed-by=memory-operator"}
    assert asked == ({SELECTORS[kind]} if kind in SELECTORS else set())


def test_every_child_that_is_made_is_one_that_is_sent():
    built = [*workload().children, *workload(api={"autoscaling": {"maxReplicas": 3}}).children]

    for manifest in built:
        name, _, value = SELECTORS[kind_of(manifest)].partition("=")
        labels = manifest["metadata"]["labels"]
        assert name in labels
        assert value in ("", labels[name])


async def test_what_kopf_sees_is_handed_over_as_it_is():
    seen: list[tuple[Any, ...]] = []
    registry = build_registry(lambda *told: seen.append(told), Configuration)
    (handler,) = [each for each in registry._watching.get_all_handlers() if each.id == "see-configmaps"]
    body = {"metadata": {"name": "x"}}

    for event in (None, "ADDED", "DELETED"):
        await handler.fn(event={"type": event, "object": body}, anything="else")

    assert seen == [(CONFIG_MAP, event, body) for event in (None, "ADDED", "DELETED")]


def test_there_are_only_handlers_of_events():
    """Any other would make kopf write finalizers and annotations."""
    registry = build_registry(lambda *told: None, Configuration)

    assert {each.id for each in registry._watching.get_all_handlers()} == {f"see-{kind.plural}" for kind in WATCHED}
    for others in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert not list(others.get_all_handlers())


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("peering.standalone", True),  # else equal replicas freeze one another
        ("posting.enabled", False),
        ("scanning.disabled", True),  # else rights on CustomResourceDefinitions are needed
        ("queueing.worker_limit", None),  # a limit makes the start thirty times as long
        ("watching.initial_streaming", False),  # before Kubernetes 1.34 the process would end
        ("watching.server_timeout", 290),
        ("watching.inactivity_timeout", 70),  # else a dead stream is noticed after minutes
        ("networking.request_timeout", 30),
    ],
)
def test_each_setting_is_there_for_a_failure_that_was_seen_without_it(name, value):
    part, _, setting = name.partition(".")

    assert getattr(getattr(build_settings(), part), setting) == value


def test_kopf_keeps_no_copy_of_what_it_sees():
    nothing = NoDiff()

    assert isinstance(build_settings().persistence.diffbase_storage, NoDiff)
    assert dict(nothing.build(body={"spec": {"large": "x"}})) == {}
    assert nothing.fetch(body={}) is None
    assert nothing.store(body={}, patch={}, essence={}) is None


# --- login ------------------------------------------------------------------------------------------------------------


def configuration(**given: Any) -> Configuration:
    made = Configuration()
    made.host = "https://kubernetes.example:6443"
    for name, value in given.items():
        setattr(made, name, value)
    return made


def test_a_token_of_a_service_account_is_taken_over():
    info = connection_info(configuration(api_key={"BearerToken": "bearer a-token"}, ssl_ca_cert="/var/run/ca.crt"))

    assert (info.server, info.scheme, info.token) == ("https://kubernetes.example:6443", "Bearer", "a-token")
    assert (info.ca_path, info.ca_data, info.insecure) == ("/var/run/ca.crt", None, False)
    assert info.as_http_headers() == {"Authorization": "Bearer a-token"}


def test_a_certificate_is_taken_over():
    info = connection_info(configuration(cert_file="/c.crt", key_file="/c.key"))

    assert (info.scheme, info.token) == (None, None)
    assert (info.certificate_path, info.private_key_path) == ("/c.crt", "/c.key")
    assert info.as_http_headers() == {}


@pytest.mark.parametrize("form", [str, str.encode], ids=["text", "bytes"])
def test_authorities_that_are_given_as_such_win_over_a_file(form):
    info = connection_info(configuration(ca_cert_data=form(CERTIFICATE), ssl_ca_cert="/ca.crt"))

    assert info.ca_path is None
    assert base64.b64decode(info.ca_data).decode() == CERTIFICATE


def test_a_server_that_need_not_be_verified_and_a_proxy_are_taken_over():
    """Regression: the watches went past the proxy that everything else was sent through."""
    info = connection_info(configuration(verify_ssl=False, proxy="http://proxy.example:3128"))

    assert info.insecure is True
    assert info.proxy_url == "http://proxy.example:3128"


async def test_kopf_logs_in_with_what_the_operator_logs_in_with():
    async def login() -> Configuration:
        return configuration(api_key={"BearerToken": "Bearer from-the-kubeconfig"})

    registry = build_registry(lambda *told: None, login)
    (activity,) = registry._activities.get_all_handlers()

    info = await activity.fn()

    assert info.token == "from-the-kubeconfig"
