"""``memory-operator plan``: the steps that the operator would take for the objects in a file, without taking them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from memory_contracts.conditions import ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Rejected
from memory_contracts.v1alpha1 import API_VERSION, MemoryCluster, MemoryNamespace
from memory_operator.backends.registry import BackendRegistry
from memory_operator.consent import KubeConsent
from memory_operator.controller.rest import RestClient
from memory_operator.handlers import SELECTORS, WATCHED
from memory_operator.keys import CLUSTER_KIND, NAMESPACE_KIND, Key, key_of
from memory_operator.kube.cache import Cache
from memory_operator.kube.client import KubeClient
from memory_operator.kube.connect import load_configuration
from memory_operator.kube.entries import cluster_key
from memory_operator.kube.kinds import MEMORY_NAMESPACE, NAMESPACE
from memory_operator.kube.secrets import KubeSecrets
from memory_operator.kube.workloads import KubeWorkloads
from memory_operator.outcome import Outcome
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.reconcile import survey
from memory_operator.world import World

FIELD_MANAGER = "memory-operator-plan"
KINDS = (CLUSTER_KIND, NAMESPACE_KIND)
# Not True, and nothing that stands in the way.
_HARMLESS = (Reason.NOT_CONFIGURED, Reason.PROGRESSING, Reason.FENCED, Reason.HIBERNATED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the operator would do for one MemoryNamespace; `problems` is why it would stop."""

    name: str
    steps: tuple[str, ...]
    problems: tuple[str, ...]


async def plan_file(file: Path) -> list[Plan]:
    """Return a plan for each MemoryNamespace in `file`; a MemoryCluster beside it counts as applied.

    The API server checks and completes the objects. Raises `Rejected` with its sentence, or with what is wrong with the
    file.
    """
    documents = list(_documents(file))
    async with RestClient(await load_configuration()) as api:
        planner = _Planner(api)
        await planner.look()
        return await planner.plan(documents)


class _Planner:
    """A world in which nothing is changed, over the cluster of the caller's kubeconfig."""

    def __init__(self, api: RestClient) -> None:
        self._client = KubeClient(api)
        self._cache = Cache()
        self._workloads = KubeWorkloads(self._client, self._cache)

    async def look(self) -> None:
        """Take in what there is."""
        for kind in WATCHED:
            async for page, _ in self._client.pages(kind, selector=SELECTORS.get(kind, "")):
                for body in page:
                    self._cache.see(kind, body)

    async def plan(self, documents: list[dict[str, Any]]) -> list[Plan]:
        """Return the plans, in the order of the file."""
        accepted = [await self._client.apply(each, FIELD_MANAGER, dry=True) for each in documents]
        clusters = {key_of(each): each for body in accepted if body["kind"] == CLUSTER_KIND
                    for each in [MemoryCluster.model_validate(body)]}  # fmt: skip
        kept = KubeSecrets(self._client, self._cache, self._workloads)
        backends = BackendRegistry(kept, Claimant(await self._identity(), unique_names=True))
        world = World(
            consent=KubeConsent(self._cache),
            secrets=kept,
            backends=backends,
            workloads=self._workloads,
            now=lambda: datetime.now(UTC),
            new_secret=lambda: secrets.token_urlsafe(32),
            dry=True,
        )
        try:
            return [await self._plan(body, clusters, world) for body in accepted if body["kind"] == NAMESPACE_KIND]
        finally:
            await backends.close()

    async def _plan(self, body: dict[str, Any], clusters: dict[Key, MemoryCluster], world: World) -> Plan:
        namespace = MemoryNamespace.model_validate(body)
        body["metadata"].setdefault("resourceVersion", "0")  # one that does not exist yet has none
        self._cache.see(MEMORY_NAMESPACE, body)
        wanted = cluster_key(key_of(namespace), body)
        found = self._cache.entry(wanted)
        cluster = clusters.get(wanted) or (MemoryCluster.model_validate(found.body) if found else None)
        return _summarised(str(key_of(namespace)), await survey(namespace, cluster, world))

    async def _identity(self) -> str:
        found = await self._client.get(NAMESPACE, None, "kube-system")
        return str(found["metadata"]["uid"]) if found else ""


def _summarised(name: str, outcome: Outcome) -> Plan:
    problems = [f"{each.stage}: {each.message}" for each in outcome.results
                if each.status is not ConditionStatus.TRUE and each.reason not in _HARMLESS]  # fmt: skip
    if outcome.unmet:
        problems.append(f"{ConditionType.SYNCED}: {outcome.unmet}")
    return Plan(name, tuple(outcome.withheld), tuple(problems))


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(file.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{file}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise Rejected(f"{file}: is not valid YAML: {' '.join(str(error).split())}") from None
    ours = [(number, each) for number, each in enumerate(documents, start=1)
            if isinstance(each, dict) and each.get("apiVersion") == API_VERSION]  # fmt: skip
    for number, document in ours:  # what else is in the file is not ours to plan
        yield _checked(document, f"{file}: document {number}")
    if NAMESPACE_KIND not in [document.get("kind") for _, document in ours]:
        raise Rejected(f"{file}: holds no {NAMESPACE_KIND} of {API_VERSION}; a plan is made for these")


def _checked(document: dict[str, Any], where: str) -> dict[str, Any]:
    metadata = document.get("metadata")
    if document.get("kind") not in KINDS or not isinstance(metadata, dict) or not metadata.get("name"):
        raise Rejected(f"{where} is no {' or '.join(KINDS)} with a metadata.name")
    metadata["namespace"] = metadata.get("namespace") or "default"
    try:
        checked: dict[str, Any] = json.loads(json.dumps(document, default=str))
    except (TypeError, ValueError) as error:
        raise Rejected(f"{where} cannot be sent as JSON: {error}") from None
    return checked
