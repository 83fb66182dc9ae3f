"""The operator dies after every single write: whoever comes next finishes, and nothing else is touched."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults import DELETE, apart, kubernetes_namespace
from holdings import Holdings
from kube import Kube, eventually
from mortal_operator import MortalOperator

from memory_contracts.naming import TenantNames
from memory_operator.kube.kinds import CHILD_KINDS
from memory_operator.shell.dry_run import plan_file

# More than any run takes; where the operator outlives its number all writes have been tried.
MOST_WRITES = 80
EDITS = (
    {"api": {"replicas": 1, "logLevel": "info"}, "networkPolicy": {"mode": "Strict"}},
    {"api": {"replicas": 2, "logLevel": "debug"}, "networkPolicy": {"mode": "Disabled"}},
)
# What is left out where an edit is one of many: an Event is for people, and nothing follows from it.
EVENTS = "/events"
RETAIN = {"policy": "Retain"}
# One after the other: whether the tenant's logins may write then, and how many processes run.
STATES = {"ReadOnly": (False, 1), "Hibernated": (True, 0), "Active": (True, 1)}
ROUNDS = 20


@pytest.fixture(scope="module")
def place(kube) -> Iterator[str]:
    with kubernetes_namespace(kube, "crash") as name:
        yield name


@pytest.fixture(scope="module")
def mortal(kube, control_plane, memory_cluster, operator, tmp_path_factory) -> Iterator[MortalOperator]:
    """Takes the place of the session's operator."""
    operator.stop()
    try:
        account = control_plane.service_account("memory-system", "memory-operator")
        with MortalOperator(account, tmp_path_factory.mktemp("mortal"), kube) as process:
            process.start()
            yield process
    finally:
        operator.start()


@pytest.fixture(scope="module")
def holdings(backends) -> Holdings:
    return Holdings(backends)


@pytest.fixture(scope="module")
def bystanders(kube, place, holdings) -> Iterator[Callable[[], Any]]:
    """Things of others beside the tenants; returns how they are."""
    stem = f"mem-{place}-bystander"
    holdings.make_bystanders(stem)
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": place, "name": "bystander"}})

    def look() -> Any:
        mine = (stem, stem.replace("-", "_"))
        secret = kube.get("Secret", place, "bystander")
        return secret, {each for each in holdings.everything() if each.partition(" ")[2].startswith(mine)}

    yield look
    holdings.remove_bystanders(stem)


@dataclass(frozen=True)
class Tenant:
    """A MemoryNamespace of this module."""

    kube: Kube
    namespace: str
    name: str
    deletion: dict[str, Any] = field(default_factory=lambda: DELETE)

    @property
    def names(self) -> TenantNames:
        return TenantNames(self.namespace, self.name)

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "memory.somafractal.io/v1alpha1",
            "kind": "MemoryNamespace",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": {"clusterRef": {"name": "default", "namespace": "memory-system"}, "deletion": self.deletion},
        }

    def apply(self) -> None:
        self.kube.apply(self.manifest)

    def edit(self, spec: dict[str, Any]) -> None:
        self.kube.edit("MemoryNamespace", self.namespace, self.name, {"spec": spec}).raise_for_status()

    def delete(self) -> None:
        self.kube.delete("MemoryNamespace", self.namespace, self.name)

    def wait(self) -> None:
        for condition in ("Ready", "Synced"):
            self.kube.wait("MemoryNamespace", self.namespace, self.name, condition)

    def wait_gone(self) -> None:
        self.kube.wait_gone("MemoryNamespace", self.namespace, self.name)

    def is_ready(self) -> bool:
        found = self.kube.get("MemoryNamespace", self.namespace, self.name) or {}
        now = self.kube.conditions("MemoryNamespace", self.namespace, self.name)
        return all(
            now.get(each, {}).get("status") == "True"
            and now[each]["observedGeneration"] == found["metadata"]["generation"]
            for each in ("Ready", "Synced")
        )

    def is_seen(self) -> bool:
        """Whether a pass over it as it is has come to its end; not every process may be there yet."""
        found = self.kube.get("MemoryNamespace", self.namespace, self.name) or {}
        return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

    @property
    def replicas(self) -> int:
        found = self.kube.get("Deployment", self.namespace, f"{self.name}-api")
        assert found
        return int(found["spec"]["replicas"])

    def is_gone(self) -> bool:
        return self.kube.get("MemoryNamespace", self.namespace, self.name) is None

    def shape(self, holdings: Holdings) -> tuple[set[str], set[tuple[str, str]]]:
        """Everything there is of it, without its name: what two tenants have in common when both are complete."""
        names = self.names
        held = {
            each.replace(names.schema, "SCHEMA").replace(names.stem, "STEM").replace(names.qualified, "TENANT")
            for each in holdings.of(names)
        }
        children = {
            (kind.kind, each["metadata"]["name"].removeprefix(self.name))
            for kind in CHILD_KINDS
            for each in self.kube.list(kind.kind, self.namespace)
            if each["metadata"]["name"].startswith(f"{self.name}-")
        }
        return held, children


class Deaths:
    """Lets one operator after the other die, each one write later than the one before.

    Writes with `uncounted` in their line do not count.
    """

    def __init__(self, mortal: MortalOperator, uncounted: str = "") -> None:
        self._mortal = mortal
        self._uncounted = uncounted
        self.number = 0

    def begin(self) -> None:
        """Go on to the next."""
        self.number += 1
        assert self.number < MOST_WRITES, "it died after each of them; are there more?"

    def through(self, act: Callable[[], None], is_done: Callable[[], bool]) -> bool:
        """Do it; return whether the operator died of it, before all was done and quiet. Another one goes on then."""
        self._mortal.wait_quiet()
        self._mortal.doom(self.number, self._uncounted)
        act()
        eventually(lambda: not self._mortal.lives or is_done())
        if self._mortal.lives:
            self._mortal.wait_quiet()
        if self._mortal.lives:
            print(f"the {self.number}th outlived these writes:", *self._mortal.writes, sep="\n  ")
            self._mortal.count()  # no more is it to die of what it does next
        if died := not self._mortal.lives:
            self._mortal.start()
        return died


def steps_left(kube: Kube, tenant: Tenant, file: Path) -> list[str]:
    """What ``memory-operator plan`` says of the object as it is."""
    live = kube.get("MemoryNamespace", tenant.namespace, tenant.name)
    assert live
    file.write_text(yaml.safe_dump(tenant.manifest | {"spec": live["spec"]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kube.kubeconfig))
        (plan,) = apart(plan_file(file))
    return [*plan.steps, *plan.problems]


def wait_finished(kube: Kube, tenant: Tenant, file: Path) -> None:
    """Wait until it was looked at as it is now, and nothing is left to be done; the processes may be on their way."""
    eventually(tenant.is_seen)
    eventually(lambda: steps_left(kube, tenant, file) == [], tell=lambda: str(steps_left(kube, tenant, file)))


@pytest.fixture(scope="module")
def undisturbed(kube, mortal, place) -> Tenant:
    """A tenant whose operator lives."""
    tenant = Tenant(kube, place, "whole")
    tenant.apply()
    tenant.wait()
    mortal.wait_quiet()
    return tenant


def test_a_creation_is_finished_after_a_death_at_any_write(
    kube, mortal, place, undisturbed, holdings, bystanders, tmp_path
):
    wanted, before, deaths, died = undisturbed.shape(holdings), bystanders(), Deaths(mortal), True

    while died:
        deaths.begin()
        tenant = Tenant(kube, place, f"k{deaths.number:02}")
        died = deaths.through(tenant.apply, tenant.is_ready)
        tenant.wait()
        assert tenant.shape(holdings) == wanted, deaths.number
        assert steps_left(kube, tenant, tmp_path / "tenant.yaml") == [], deaths.number
        tenant.delete()

    assert deaths.number > 25
    assert bystanders() == before


def test_an_edit_is_finished_after_a_death_at_any_write(
    kube, mortal, place, undisturbed, holdings, bystanders, tmp_path
):
    """Back and forth, so that a child is removed by one edit and made by the next."""
    before, deaths, deadly = bystanders(), Deaths(mortal), [True]
    holdings.fill(undisturbed.names, "row")
    wanted = undisturbed.shape(holdings)
    strict, open_to_all = wanted, (wanted[0], wanted[1] - {("NetworkPolicy", "-api")})

    while any(deadly[-2:]):
        deaths.begin()
        undisturbed.wait()
        opens = deaths.number % 2 == 1
        spec = EDITS[opens] | {"events": {"partitions": 3 + deaths.number}}
        deadly.append(deaths.through(lambda spec=spec: undisturbed.edit(spec), undisturbed.is_ready))
        undisturbed.wait()
        assert undisturbed.shape(holdings) == (open_to_all if opens else strict), deaths.number
        assert steps_left(kube, undisturbed, tmp_path / "tenant.yaml") == [], deaths.number

    assert deaths.number > 8
    assert holdings.rows(undisturbed.names) == 1
    assert bystanders() == before


def test_a_deletion_is_finished_after_a_death_at_any_write(kube, mortal, place, holdings, bystanders):
    before, deaths, died = bystanders(), Deaths(mortal), True

    while died:
        deaths.begin()
        tenant = Tenant(kube, place, f"d{deaths.number:02}")
        tenant.apply()
        tenant.wait()
        holdings.fill(tenant.names, "row", "key")
        died = deaths.through(tenant.delete, tenant.is_gone)
        tenant.wait_gone()
        eventually(lambda tenant=tenant: tenant.shape(holdings) == (set(), set()), 30)

    assert deaths.number > 10
    assert bystanders() == before


def test_retained_data_outlives_a_death_at_any_write_of_leaving_and_coming_back(
    kube, mortal, place, holdings, bystanders, tmp_path
):
    tenant, kept = Tenant(kube, place, "back", RETAIN), {"row": 1, "point": 1, "record": 1, "key": 0}
    tenant.apply()
    tenant.wait()
    holdings.fill(tenant.names, "row", "point", "record")
    wanted, before, deaths, deadly = tenant.shape(holdings), bystanders(), Deaths(mortal, EVENTS), [True]

    while any(deadly[-2:]):
        deaths.begin()
        deadly.append(deaths.through(tenant.delete, tenant.is_gone))
        tenant.wait_gone()
        assert holdings.may_log_in(tenant.names) == set(), deaths.number
        assert holdings.contents(tenant.names) == kept, deaths.number
        deadly.append(deaths.through(tenant.apply, tenant.is_seen))
        wait_finished(kube, tenant, tmp_path / "tenant.yaml")
        eventually(lambda: tenant.shape(holdings) == wanted, tell=lambda: f"{deaths.number}: {tenant.shape(holdings)}")

    tenant.wait()
    assert deaths.number > 10
    assert holdings.contents(tenant.names) == kept
    assert bystanders() == before


def test_a_change_of_state_is_finished_after_a_death_at_any_write(
    kube, mortal, undisturbed, holdings, bystanders, tmp_path
):
    undisturbed.edit({"api": {"replicas": 1}})
    undisturbed.wait()
    holdings.fill(undisturbed.names, "row")
    wanted, before, deaths, deadly = undisturbed.shape(holdings), bystanders(), Deaths(mortal, EVENTS), [True]
    rows = holdings.rows(undisturbed.names)

    while any(deadly[-len(STATES) :]):
        deaths.begin()
        for state, (writes, replicas) in STATES.items():
            act = partial(undisturbed.edit, {"state": state})
            deadly.append(deaths.through(act, undisturbed.is_seen))
            wait_finished(kube, undisturbed, tmp_path / "tenant.yaml")
            assert may_write(holdings, undisturbed.names) is writes, (deaths.number, state)
            assert undisturbed.replicas == replicas, (deaths.number, state)
        assert undisturbed.shape(holdings) == wanted, deaths.number

    undisturbed.wait()
    assert deaths.number > 5
    assert holdings.rows(undisturbed.names) == rows
    assert bystanders() == before


def may_write(holdings: Holdings, names: TenantNames) -> bool:
    """Whether the tenant's logins to Postgres and Redis may; both or neither."""
    (row,) = holdings.sql(
        f"select has_table_privilege('{names.login_role('a')}', '{names.schema}.memories', 'insert') as may"
    )
    with holdings.redis() as client:
        commands = client.acl_getuser(names.redis_user)["commands"]
    assert ("+set" in commands) is row["may"]
    return bool(row["may"])


def test_autoscaling_is_switched_on_and_off_after_a_death_at_any_write(
    kube, mortal, undisturbed, holdings, bystanders, tmp_path
):
    undisturbed.edit({"api": {"replicas": 2}})
    undisturbed.wait()
    held, children = undisturbed.shape(holdings)
    autoscaler, before = ("HorizontalPodAutoscaler", "-api"), bystanders()
    deaths, deadly = Deaths(mortal, EVENTS), [True]

    while any(deadly[-2:]):
        deaths.begin()
        for wanted, more in (({"minReplicas": 2, "maxReplicas": 4}, {autoscaler}), (None, set())):
            act = partial(undisturbed.edit, {"api": {"autoscaling": wanted}})
            deadly.append(deaths.through(act, undisturbed.is_seen))
            wait_finished(kube, undisturbed, tmp_path / "tenant.yaml")
            assert undisturbed.shape(holdings) == (held, children | more), (deaths.number, wanted)
            assert undisturbed.replicas == 2, (deaths.number, wanted)

    undisturbed.wait()
    assert deaths.number > 3
    assert bystanders() == before


def test_deaths_at_any_time_leave_no_trace(kube, mortal, place, undisturbed, holdings, bystanders, tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, before = random.Random(seed), bystanders()
    tenants = [Tenant(kube, place, f"r{number:02}") for number in range(ROUNDS)]

    for number, tenant in enumerate(tenants):
        mortal.kill()
        mortal.start()
        tenant.apply()
        if number % 2:
            tenants[number - 1].delete()
        time.sleep(chance.uniform(0, 2.5))
    mortal.kill()
    mortal.start()

    kept, gone = tenants[1::2], tenants[::2]
    for each in kept:
        each.wait()
        assert each.shape(holdings)[0] == undisturbed.shape(holdings)[0]
        assert steps_left(kube, each, tmp_path / "tenant.yaml") == []
    for each in gone:
        each.wait_gone()
    eventually(lambda: all(each.shape(holdings) == (set(), set()) for each in gone), 30)
    assert bystanders() == before
