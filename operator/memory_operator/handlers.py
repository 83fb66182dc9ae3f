"""The kopf shell: kopf watches, and hands over what it sees. Nothing is decided here.

Only ``on.event`` handlers are used. kopf's other handlers would add finalizers and annotations of their own, and would
lose what happened in the gap of an expired watch.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory  # `kopf.operator` takes one; not exported
from kubernetes.aio.client import Configuration

from memory_operator.kube.kinds import (
    CHILD_KINDS,
    ENDPOINT_SLICE,
    MEMORY_CLUSTER,
    MEMORY_NAMESPACE,
    NAMESPACE,
    SECRET,
    Kind,
)
from memory_operator.specs.labels import MANAGED_BY, MANAGER, WATCH_LABEL

# Called on kopf's own thread with the kind, the type of the event (None: part of a listing) and the object.
Deliver: TypeAlias = Callable[[Kind, str | None, Mapping[str, Any]], None]
Login: TypeAlias = Callable[[], Awaitable[Configuration]]

# Kubernetes namespaces before the objects in them, which are looked for when one of these changes.
WATCHED = (NAMESPACE, MEMORY_CLUSTER, MEMORY_NAMESPACE, *CHILD_KINDS, ENDPOINT_SLICE)
# The server sends only what may concern us. Secrets of others are never read unless they ask for it by the label.
SELECTORS = dict.fromkeys((*CHILD_KINDS, ENDPOINT_SLICE), f"{MANAGED_BY}={MANAGER}") | {SECRET: WATCH_LABEL}


class NoDiff(kopf.DiffBaseStorage):
    """Keeps no former state: kopf would copy every object it sees to find a difference that nobody asks for."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return the same for every object."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        """Remember nothing."""

    def store(self, **_: Any) -> None:
        """Write nothing."""


class NoMemories(ResourceMemories):
    """Remembers no object. kopf would keep a record of each for as long as it exists, for handlers that are not used:
    a kilobyte for each of tens of thousands of children.
    """

    async def recall(self, raw_body: kopf.RawBody, **options: Any) -> ResourceMemory:
        """Return a new record, and forget it."""
        return await super().recall(raw_body, **{**options, "ephemeral": True})


def build_registry(deliver: Deliver, login: Login) -> kopf.OperatorRegistry:
    """Return the handlers: one for each kind that is watched, and the login."""
    registry = kopf.OperatorRegistry()
    for kind in WATCHED:
        _hand_over(registry, kind, deliver)

    @kopf.on.login(registry=registry)
    async def connect(**_: Any) -> kopf.ConnectionInfo:
        return connection_info(await login())

    return registry


def build_settings() -> kopf.OperatorSettings:
    """Return the settings; each is there for a failure that was seen without it."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # equal priorities would freeze all replicas; leadership is the elector's
    settings.posting.enabled = False  # events are posted by the recorder, once a transition
    settings.scanning.disabled = True  # no watch on CustomResourceDefinitions: their rights are not needed
    settings.persistence.diffbase_storage = NoDiff()
    settings.queueing.idle_timeout = 0.5  # a task an object, so that it does not stay after its event
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 290
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 100  # the whole page is in memory at once
    for kind, selector in SELECTORS.items():
        settings.watching.label_selectors[kind.group, kind.api_version.rpartition("/")[2], kind.plural] = selector
    return settings


async def watch(registry: kopf.OperatorRegistry, stop: threading.Event, ready: threading.Event) -> None:
    """Watch until `stop` is set; raises when a watch cannot go on."""
    await kopf.operator(
        registry=registry,
        settings=build_settings(),
        memories=NoMemories(),
        # kopf would ask for the name of the account, which a container that runs as a bare number does not have.
        identity=cast(Any, "memory-operator"),
        clusterwide=True,
        standalone=True,
        stop_flag=stop,
        ready_flag=ready,
    )


def connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    """Return the same login in kopf's words."""
    _, _, token = configuration.api_key.get("BearerToken", "").partition(" ")
    authorities = configuration.ca_cert_data
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert if not authorities else None,
        ca_data=base64.b64encode(_bytes(authorities)) if authorities else None,
        insecure=not configuration.verify_ssl,
        scheme="Bearer" if token else None,
        token=token or None,
        certificate_path=_path(configuration.cert_file),
        private_key_path=_path(configuration.key_file),
        proxy_url=configuration.proxy,
    )


def _hand_over(registry: kopf.OperatorRegistry, kind: Kind, deliver: Deliver) -> None:
    version = kind.api_version.rpartition("/")[2]

    @kopf.on.event(kind.group, version, kind.plural, registry=registry, id=f"see-{kind.plural}")
    async def see(event: Mapping[str, Any], **_: Any) -> None:
        deliver(kind, event["type"], event["object"])


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _path(path: str | None) -> str | None:
    return str(Path(path)) if path else None
