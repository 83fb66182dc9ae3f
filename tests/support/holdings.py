"""What tenants have in the four backends, looked at past the operator: as the administrator of each server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import redis
from faults import Servers, sql
from kafka.world import KafkaWorld

from memory_contracts.naming import TenantNames

ROW = """insert into "{schema}".memories (id, coord, type, payload, content, importance)
         values ('{id}', '{{0}}', 'semantic', '{{}}', 'a memory', 1)"""


class Holdings:
    """Looks into the servers, and puts data there that only a deletion may take away."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.kafka = KafkaWorld(servers.kafka)

    def sql(self, *statements: str) -> list[Any]:
        """Run statements as the administrator of the database; return the rows of the last."""
        return sql(self._servers.postgres, self._servers.database, *statements)

    def qdrant(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the REST interface; return the result."""
        double = self._servers.qdrant
        headers = {"api-key": double.api_key or ""}
        answer = httpx.request(method, f"{double.url}{path}", headers=headers, json=body, trust_env=False, timeout=30)
        return answer.raise_for_status().json()["result"]

    def redis(self) -> redis.Redis:
        """Return a client, to be closed by ``with``."""
        account = self._servers.redis.connection
        return redis.Redis(
            port=account.port, username=account.username, password=account.password, decode_responses=True
        )

    def of(self, names: TenantNames) -> set[str]:
        """Return everything that bears one of the tenant's names, each as ``kind name``; empty when nothing is left."""
        mine = (names.schema, names.stem)
        return {each for each in self.everything() if each.partition(" ")[2].startswith(mine)} | self.claims(names)

    def everything(self) -> set[str]:
        """Return everything that any tenant, or somebody else, has in the servers."""
        return {*self._in_postgres(), *self._in_qdrant(), *self._in_kafka(), *self._in_redis()}

    def claims(self, names: TenantNames) -> set[str]:
        """Return what the ledger says of the tenant."""
        if not self.sql("select to_regclass('memory_operator.tenants') as found")[0]["found"]:
            return set()
        rows = self.sql(
            f"select 'claim ' || tenant as held from memory_operator.tenants where tenant = '{names.qualified}' "
            f"union all select 'claim ' || object from memory_operator.objects where tenant = '{names.qualified}'"
        )
        return {row["held"] for row in rows}

    def fill(self, names: TenantNames, *parts: str) -> None:
        """Put something into each of the tenant's `parts`: row, point, record, key."""
        for part in parts or ("row", "point", "record", "key"):
            match part:
                case "row":
                    self.sql(ROW.format(schema=names.schema, id=uuid4()))
                case "point":
                    self._add_point(names.collection)
                case "record":
                    self.kafka.produce(names.topic("events"), b"a change", partition=0)
                case "key":
                    with self.redis() as client:
                        client.set(f"{names.redis_prefix}cached", "value")

    def contents(self, names: TenantNames) -> dict[str, int]:
        """Return how much of what `fill` put there is there."""
        with self.redis() as client:
            cached = int(client.exists(f"{names.redis_prefix}cached"))
        found = self.qdrant("GET", f"/collections/{names.collection}")
        return {
            "row": self.rows(names),
            "point": found["points_count"],
            "record": self.kafka.records(names.topic("events"), 0),
            "key": cached,
        }

    def rows(self, names: TenantNames) -> int:
        """Return how many memories there are."""
        return int(self.sql(f'select count(*) as rows from "{names.schema}".memories')[0]["rows"])

    def may_log_in(self, names: TenantNames) -> set[str]:
        """Return the roles and users of the tenant with which somebody could log in."""
        rows = self.sql(f"select rolname from pg_roles where rolcanlogin and rolname like '{_like(names.schema)}%'")
        with self.redis() as client:
            user = client.acl_getuser(names.redis_user)
        return {row["rolname"] for row in rows} | ({names.redis_user} if user and "on" in user["flags"] else set())

    # --- somebody else's ----------------------------------------------------------------------------------------------

    def make_bystanders(self, stem: str) -> set[str]:
        """Make objects of somebody else with names like a tenant's; return them as `everything` does."""
        schema = stem.replace("-", "_")
        self.sql(f'create schema "{schema}"', f'create table "{schema}".theirs (id int)', f'create role "{schema}_a"')
        vectors = {"vectors": {"size": 2, "distance": "Cosine"}}
        self.qdrant("PUT", f"/collections/{stem}-1", vectors)
        self.kafka.create(f"{stem}.events")
        with self.redis() as client:
            client.acl_setuser(stem, enabled=True, nopass=True, keys=[f"{stem}:*"], commands=["+get"])
            client.set(f"{stem}:theirs", "value")
        return {each for each in self.everything() if each.partition(" ")[2].startswith((schema, stem))}

    def remove_bystanders(self, stem: str) -> None:
        """Remove them."""
        schema = stem.replace("-", "_")
        self.sql(f'drop schema "{schema}" cascade', f'drop role "{schema}_a"')
        self.qdrant("DELETE", f"/collections/{stem}-1")
        self.kafka.delete(f"{stem}.events")
        with self.redis() as client:
            client.acl_deluser(stem)
            client.delete(f"{stem}:theirs")

    # --- one server each ----------------------------------------------------------------------------------------------

    def _in_postgres(self) -> Iterator[str]:
        rows = self.sql(
            "select 'schema ' || nspname as found from pg_namespace where nspname like 'mem\\_%' "
            "and nspname <> 'memory_operator' "
            "union all select 'role ' || rolname from pg_roles where rolname like 'mem\\_%' "
            "union all select 'table ' || n.nspname || '.' || relname from pg_class c "
            "join pg_namespace n on n.oid = relnamespace where relname = 'theirs'"
        )
        return (row["found"] for row in rows)

    def _in_qdrant(self) -> Iterator[str]:
        for each in self.qdrant("GET", "/collections")["collections"]:
            yield f"collection {each['name']}"
        for each in self.qdrant("GET", "/aliases")["aliases"]:
            yield f"alias {each['alias_name']}"

    def _in_kafka(self) -> Iterator[str]:
        return (f"topic {name}" for name in self.kafka.partitions() if not name.startswith("__"))

    def _in_redis(self) -> Iterator[str]:
        with self.redis() as client:
            yield from (f"user {name}" for name in client.acl_users() if name not in ("default", "admin"))
            yield from (f"key {name}" for name in client.scan_iter())

    def _add_point(self, collection: str) -> None:
        size = self.qdrant("GET", f"/collections/{collection}")["config"]["params"]["vectors"]["size"]
        point = {"id": str(uuid4()), "vector": [1.0] + [0.0] * (size - 1)}
        self.qdrant("PUT", f"/collections/{collection}/points?wait=true", {"points": [point]})


def _like(name: str) -> str:
    return name.replace("_", "\\_")
