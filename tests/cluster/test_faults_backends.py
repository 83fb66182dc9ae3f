"""Backends that refuse, do not answer, are full or take no writes; at the beginning, and later."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis
from fault_servers import FORGETFUL, TlsPostgres, fill, small_disk
from faults import HEAL_SECONDS, Case, kubernetes_namespace, new_case, remove_clusters, secret, sql, twin
from kafka.certificates import Authority, new_authority
from kafka.world import KafkaWorld
from kube import Kube, eventually
from postgres_data import data_of
from qdrant.process import QdrantDouble
from redis_server import RedisServer, TLSFront

from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

NOWHERE = "no-such-host.invalid"
# The stage that a backend decides, and its condition of the MemoryCluster. All that Postgres holds begins with a claim.
STAGES = {"postgres": "Claimed", "qdrant": "CollectionReady", "kafka": "TopicReady", "redis": "CacheReady"}
PARTS = tuple(STAGES)
OPTIONAL = PARTS[1:]


def ready_of(part: str) -> str:
    return f"{part.capitalize()}Ready"


@pytest.fixture(scope="module")
def place(kube: Kube, operator) -> Iterator[str]:
    with kubernetes_namespace(kube, "backends") as name:
        yield name


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for the servers of these tests, but for Kafka's broker."""
    return new_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for none of them."""
    return new_authority(tmp_path_factory.mktemp("stranger"))


# --- refused ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What is wrong with the way to one backend: `spoil` changes the case, which is healthy before and again later."""

    kind: str
    part: str
    status: str
    reason: str
    says: str
    spoil: Callable[[Case, str, Authority], None]

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.part}"


def spoil_password(case: Case, part: str, stranger: Authority) -> None:
    case.secrets[part]["stringData"]["api-key" if part == "qdrant" else "password"] = "not-the-one-it-should-be"


def spoil_host(case: Case, part: str, stranger: Authority) -> None:
    fields = {"qdrant": {"url": f"http://{NOWHERE}:6333"}, "kafka": {"bootstrapServers": f"{NOWHERE}:9092"}}
    case.cluster[part]["external"] |= fields.get(part, {"host": NOWHERE})


def spoil_database(case: Case, part: str, stranger: Authority) -> None:
    case.cluster[part]["external"]["database"] = "no-such-database"


def spoil_authority(case: Case, part: str, stranger: Authority) -> None:
    role = part if part == "kafka" else "ca"
    case.secrets[role]["stringData"]["ca.crt"] = stranger.certificate.read_text()


FAULTS = [
    *(Fault("password", part, "False", "AuthenticationFailed", "", spoil_password) for part in PARTS),
    *(Fault("host", part, "Unknown", "BackendUnavailable", NOWHERE, spoil_host) for part in PARTS),
    *(
        Fault("authority", part, status, "TLSFailed", "certificate", spoil_authority)
        for part, status in zip(PARTS, ("False", "False", "Unknown", "Unknown"), strict=True)
    ),
    Fault("database", "postgres", "False", "Rejected", '"no-such-database" does not exist', spoil_database),
    Fault("expired", "postgres", "False", "TLSFailed", "expired", lambda *_: None),
]


@pytest.fixture(scope="module")
def tls_postgres(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPostgres]:
    with TlsPostgres(tmp_path_factory.mktemp("postgres"), authority) as server:
        server.show("expired", days=-1)
        yield server


@pytest.fixture(scope="module")
def over_tls(
    backends, tls_postgres, kafka_tls_scram, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The servers, such that each speaks TLS; Redis on the port of `front`."""
    with ExitStack() as stack:
        # Qdrant's double reads the key from a file of its own.
        certificate = authority.issue("qdrant").with_suffix(".crt")
        qdrant = stack.enter_context(QdrantDouble(tmp_path_factory.mktemp("qdrant"), certificate=certificate))
        front = stack.enter_context(TLSFront(backends.redis, authority.issue("redis")))
        yield replace(backends, postgres=tls_postgres.server, qdrant=qdrant, kafka=kafka_tls_scram), front


@pytest.fixture(scope="module")
def spoilt(kube: Kube, backends, over_tls, authority, stranger, kafka_tls_scram, place) -> Iterator[dict[str, Case]]:
    """Every fault as a case, all applied at once."""
    servers, front = over_tls
    plain = replace(backends, kafka=kafka_tls_scram)
    cases = {}
    for fault in FAULTS:
        with_tls = fault.kind in ("authority", "expired")
        case = cases[fault.name] = new_case(kube, place, fault.name, servers if with_tls else plain, fault.part)
        if with_tls and fault.part != "postgres":
            case.cluster["postgres"] = new_case(kube, place, fault.name, plain).cluster["postgres"]
            case.secrets["postgres"] = new_case(kube, place, fault.name, plain).secrets["postgres"]
        if with_tls and fault.part != "kafka":
            _speak_tls(case, fault.part, authority, front)
        healthy = deepcopy((case.cluster, case.secrets))
        fault.spoil(case, fault.part, stranger)
        case.apply()
        case.cluster, case.secrets = healthy
    yield cases
    remove_clusters(kube, list(cases.values()))


def _speak_tls(case: Case, part: str, authority: Authority, front: TLSFront) -> None:
    name = f"{case.name}-ca"
    case.secrets["ca"] = secret(name, **{"ca.crt": authority.certificate.read_text()})
    tls = {"caSecretRef": {"name": name}} | ({"mode": "verify-full"} if part == "postgres" else {})
    case.cluster[part]["external"] |= {"tls": tls} | ({"port": front.port} if part == "redis" else {})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_backend_that_cannot_be_used_is_named_and_the_rest_is_served(spoilt, fault):
    case, stage = spoilt[fault.name], STAGES[fault.part]

    told = case.wait(stage, fault.status, reason=fault.reason)

    assert fault.says in told["message"].lower()
    told = case.wait_cluster(ready_of(fault.part), fault.status, reason=fault.reason)
    assert fault.says in told["message"].lower()
    if fault.part == "postgres":
        assert case.child("Deployment") is None
    else:
        case.wait("APIAvailable")
        assert case.conditions()["SchemaReady"] == ("True", "Provisioned")
        case.wait("Ready", fault.status, reason=fault.reason)
        case.wait_cluster("PostgresReady")


@pytest.fixture(scope="module")
def mended(spoilt, tls_postgres) -> dict[str, Case]:
    """The same, each with what it should have had, and a certificate that is valid."""
    tls_postgres.show("renewed")
    for case in spoilt.values():
        case.provide(*case.secrets)
        case.apply_cluster()
    return spoilt


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_was_corrected_is_noticed(mended, fault):
    mended[fault.name].wait(seconds=HEAL_SECONDS)
    mended[fault.name].wait_cluster()


def test_a_login_that_is_refused_later_is_told_and_the_rest_is_still_repaired(mended, kube):
    case = mended["password-postgres"]
    case.wait("Synced")
    right, wrong = case.secrets["postgres"], deepcopy(case.secrets["postgres"])
    wrong["stringData"]["password"] = "not-the-one-it-should-be"

    kube.apply(wrong)
    case.wait("Claimed", "False", reason="AuthenticationFailed", seconds=HEAL_SECONDS)
    kube.delete("Service", case.namespace, f"{case.name}-api")

    eventually(lambda: case.child("Service") is not None, HEAL_SECONDS, lambda: "the Service does not come back")
    case.wait("APIAvailable")
    assert case.conditions()["Ready"] == ("False", "AuthenticationFailed")
    kube.apply(right)
    case.wait(seconds=HEAL_SECONDS)


# --- down -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres that these tests may stop, close for writing, and fill."""
    server = PostgresServer(tmp_path_factory.mktemp("spare"), 0, find_binaries(), settings=FORGETFUL)
    with server:
        yield server
    server.purge()


@pytest.fixture(scope="module")
def switches(backends, spare, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Servers to be switched off and on, all off; Kafka's broker is the session's, and runs again afterwards."""
    with ExitStack() as stack:
        qdrant = stack.enter_context(QdrantDouble(tmp_path_factory.mktemp("qdrant")))
        cache = stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis")))
        stack.callback(backends.kafka.start)
        servers = {"postgres": spare, "qdrant": qdrant, "kafka": backends.kafka, "redis": cache}
        switch_off(servers)
        yield servers
        switch_on(servers)


def switch_off(servers: dict[str, Any]) -> None:
    servers["kafka"].kill()
    for part in ("postgres", "qdrant", "redis"):
        servers[part].stop()


def switch_on(servers: dict[str, Any]) -> None:
    for part, server in servers.items():
        if part != "redis" or server._process is None:
            server.start()


@pytest.fixture(scope="module")
def down(kube: Kube, backends, switches, place) -> Iterator[dict[str, Case]]:
    """For each backend a case in which it is down from the beginning, and all others run."""
    cases = {}
    for part in PARTS:
        servers = replace(backends, **{part: switches[part]})
        others = [each for each in OPTIONAL if each in (part, "qdrant", "redis")]
        cases[part] = new_case(kube, place, f"{part}-down", servers, *others).apply()
    yield cases
    remove_clusters(kube, list(cases.values()))


@pytest.mark.parametrize("part", PARTS)
def test_what_is_down_at_the_beginning_is_named_and_the_others_are_provisioned(down, part):
    case = down[part]

    told = case.wait(STAGES[part], "Unknown", reason="BackendUnavailable")

    assert f"{part.capitalize()} at" in told["message"]
    case.wait("Ready", "Unknown", reason="BackendUnavailable")
    case.wait_cluster(ready_of(part), "Unknown", reason="BackendUnavailable")
    if part != "postgres":
        case.wait("APIAvailable")
        others = {STAGES[each] for each in OPTIONAL if each in case.cluster and each != part}
        assert {case.conditions()[stage][0] for stage in {"SchemaReady", *others}} == {"True"}


@pytest.fixture(scope="module")
def back(down, switches, operator) -> dict[str, Case]:
    switch_on(switches)
    return down


@pytest.mark.parametrize("part", PARTS)
def test_what_is_back_is_used_without_a_restart(back, part, operator):
    back[part].wait(seconds=HEAL_SECONDS)
    back[part].wait("Synced")
    assert operator.ended is None


@pytest.fixture(scope="module")
def down_later(back, switches) -> dict[str, tuple[Case, Any]]:
    """The cases, with the Deployment that each had when its backend went."""
    for case in back.values():
        case.wait("Synced")
    before = {part: (case, case.child("Deployment")) for part, case in back.items()}
    switch_off(switches)
    return before


@pytest.mark.parametrize("part", PARTS)
def test_what_goes_down_later_is_named_and_nothing_else_is_torn_down(down_later, part, kube):
    case, before = down_later[part]

    case.wait_cluster(ready_of(part), "Unknown", reason="BackendUnavailable")
    told = case.wait("Ready", "Unknown", reason="BackendUnavailable")
    assert f"{part.capitalize()} at" in told["message"]

    kube.delete("NetworkPolicy", case.namespace, f"{case.name}-api")  # drift that is repaired meanwhile

    eventually(lambda: case.child("NetworkPolicy") is not None, HEAL_SECONDS, lambda: "it does not come back")
    after = case.child("Deployment")
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert case.conditions()["APIAvailable"] == ("True", "Available")


@pytest.fixture(scope="module")
def back_again(down_later, switches) -> dict[str, Case]:
    switch_on(switches)
    return {part: case for part, (case, _) in down_later.items()}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_back_after_an_outage_is_ready_again(back_again, part):
    """Redis has forgotten its users meanwhile: they are made again."""
    back_again[part].wait(seconds=HEAL_SECONDS)
    back_again[part].wait("Synced")


def test_backends_that_hang_are_named_and_used_again_when_they_go_on(back_again, switches):
    """Connections are accepted and nobody answers, which only a limit of time notices."""
    parts = ("qdrant", "kafka", "redis")
    for part in parts:
        back_again[part].wait()
    switches["kafka"].freeze()
    switches["qdrant"].pause()
    signal_to(switches["redis"], signal.SIGSTOP)
    try:
        for part in parts:
            told = back_again[part].wait(STAGES[part], "Unknown", reason="BackendUnavailable", seconds=HEAL_SECONDS)
            assert f"{part.capitalize()} at" in told["message"]
            assert back_again[part].conditions()["APIAvailable"] == ("True", "Available")
    finally:
        signal_to(switches["redis"], signal.SIGCONT)
        switches["qdrant"].resume()
        switches["kafka"].thaw()

    for part in parts:
        back_again[part].wait(seconds=HEAL_SECONDS)


def signal_to(server: RedisServer, number: signal.Signals) -> None:
    assert server._process
    server._process.send_signal(number)


# --- read-only, full --------------------------------------------------------------------------------------------------


@contextmanager
def by_setting(server: PostgresServer) -> Iterator[None]:
    """Close it for writing, as for a maintenance."""
    name = "default_transaction_read_only"
    sql(server, "postgres", f"alter system set {name} = on", "select pg_reload_conf()")
    try:
        yield
    finally:
        sql(server, "postgres", f"set {name} = off", f"alter system reset {name}", "select pg_reload_conf()")


@contextmanager
def as_standby(server: PostgresServer) -> Iterator[None]:
    """Make a hot standby of it, until it is promoted."""
    server.stop()
    (data_of(server.directory) / "standby.signal").touch()
    server.start()
    try:
        yield
    finally:
        sql(server, "postgres", "select pg_promote()")


@pytest.mark.parametrize("closed", [by_setting, as_standby], ids=lambda closed: closed.__name__)
def test_a_postgres_that_takes_no_writes_is_told_and_used_again_when_it_does(back_again, spare, closed):
    old = back_again["postgres"]
    old.wait()
    new = twin(old, closed.__name__.replace("_", "-"))

    with closed(spare):
        new.apply_tenant()

        new.wait("Claimed", "Unknown", reason="BackendReadOnly")
        old.wait_cluster("PostgresReady", "Unknown", reason="BackendReadOnly")
        assert old.child("Deployment")
        assert new.child("Deployment") is None

    new.wait(seconds=HEAL_SECONDS)
    old.wait()
    old.wait_cluster()


def test_a_full_disk_of_postgres_is_told_and_used_again_when_there_is_room(back_again, spare, tmp_path):
    old = back_again["postgres"]
    new = twin(old, "full-disk")
    with small_disk(tmp_path, spare) as disk:
        filler = fill(disk)
        new.apply_tenant()

        told = new.wait("SchemaReady", "Unknown", reason="BackendFull")
        assert "No space left on device" in told["message"]
        old.wait()
        assert new.child("Deployment") is None

        filler.unlink()
        new.wait(seconds=HEAL_SECONDS)
        new.delete()
        new.wait_gone()


def test_a_full_disk_of_qdrant_is_told_and_the_api_runs(back_again, switches):
    case, qdrant = back_again["qdrant"], switches["qdrant"]
    new = twin(case, "full-qdrant")
    qdrant.refuse_writes(500, "Service internal error: No space left on device (os error 28)")
    try:
        new.apply_tenant()

        new.wait("CollectionReady", "Unknown", reason="BackendFull")
        new.wait("APIAvailable")
    finally:
        qdrant.accept_writes()

    new.wait(seconds=HEAL_SECONDS)


def test_a_full_memory_of_redis_is_told(back_again, switches):
    case, address = back_again["redis"], switches["redis"].connection
    admin = redis.Redis(address.host, address.port, username=address.username, password=address.password, protocol=2)
    try:
        admin.config_set("maxmemory", "1")
        case.wait_cluster("RedisReady", "Unknown", reason="BackendFull")
        assert case.conditions()["APIAvailable"][0] == "True"
        admin.config_set("maxmemory", "0")
        case.wait_cluster(seconds=HEAL_SECONDS)
    finally:
        admin.close()


# --- topics -----------------------------------------------------------------------------------------------------------


def test_topics_grow_with_the_specification_and_what_cannot_shrink_is_told(back_again, backends):
    case, world = back_again["kafka"], KafkaWorld(backends.kafka)
    events, ingest, dead = (case.names.topic(kind) for kind in ("events", "ingest", "dead-letter"))
    case.wait()
    assert world.partitions(case.names.stem) == {events: 3, ingest: 3, dead: 1}

    world.delete(ingest)
    world.create(ingest, 1)
    eventually(lambda: world.partitions(case.names.stem) == {events: 3, ingest: 3, dead: 1}, HEAL_SECONDS)

    case.edit(events={"partitions": 4})

    case.wait("TopicReady")
    eventually(lambda: world.partitions(case.names.stem) == {events: 4, ingest: 4, dead: 1}, HEAL_SECONDS)

    world.grow(events, 6)

    told = case.wait("TopicReady", "False", reason="CannotShrink", seconds=HEAL_SECONDS)
    assert f"{events} has 6 partitions, the spec asks for 4" in told["message"]
    assert case.conditions()["APIAvailable"][0] == "True"
    case.edit(events={"partitions": 6})
    case.wait(seconds=HEAL_SECONDS)
    assert world.partitions(case.names.stem) == {events: 6, ingest: 6, dead: 1}


# --- the login changes while all is well ------------------------------------------------------------------------------


def test_drift_is_still_found_after_the_administrators_login_was_changed(kube, backends, place):
    """Nothing was ever wrong, so nothing has become right: the new connections must know the tenants all the same."""
    case = new_case(kube, place, "rotated", backends)
    create = "create role {} superuser login password 'the-password-of-this-role'"
    sql(backends.postgres, "postgres", *(create.format(name) for name in ("old_admin", "new_admin")))
    login = case.secrets["postgres"]["stringData"]
    login |= {"username": "old_admin", "password": "the-password-of-this-role"}
    case.apply().wait()
    login["username"] = "new_admin"
    case.provide("postgres")
    eventually(lambda: _sessions(backends, "new_admin"), HEAL_SECONDS, lambda: "the new login is not used")

    role = case.names.login_role("a")
    sql(backends.postgres, backends.database, f"alter role {role} nologin")

    eventually(lambda: _may_log_in(backends, role), HEAL_SECONDS, lambda: "the role stays closed")
    case.wait()
    remove_clusters(kube, [case])


def _sessions(backends, user: str) -> int | None:
    query = f"select count(*) as n from pg_stat_activity where usename = '{user}'"
    return int(sql(backends.postgres, "postgres", query)[0]["n"]) or None


def _may_log_in(backends, role: str) -> bool:
    (row,) = sql(backends.postgres, "postgres", f"select rolcanlogin from pg_roles where rolname = '{role}'")
    return bool(row["rolcanlogin"])
