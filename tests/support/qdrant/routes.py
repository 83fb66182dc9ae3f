"""The paths of the REST interface that the double serves, and what each does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from qdrant.access import Access, Need
from qdrant.collection import Collection
from qdrant.filters import known, point_id
from qdrant.refusals import Refused, not_imitated
from qdrant.storage import Storage

VERSION = "1.18.3"
STARTUP = datetime.now(UTC).isoformat()
PROCESS_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Call:
    """One request whose sender may make it."""

    storage: Storage
    access: Access
    version: str
    path: dict[str, str]
    body: dict[str, Any]
    wait: bool

    @property
    def name(self) -> str:
        return self.path["name"]

    @property
    def collection(self) -> Collection:
        return self.storage.find(self.name)


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is not JSON."""

    body: str


@dataclass(frozen=True, slots=True)
class Bare:
    """JSON without the usual envelope."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    need: Need
    answer: Callable[[Call], Any]

    def matches(self, method: str, parts: list[str]) -> dict[str, str] | None:
        """Return the parameters in the path, or None when this is another path."""
        pattern = self.path.strip("/").split("/")
        if method != self.method or len(parts) != len(pattern):
            return None
        pairs = list(zip(pattern, parts, strict=True))
        if any(not want.startswith("{") and want != got for want, got in pairs):
            return None
        return {want[1:-1]: unquote(got) for want, got in pairs if want.startswith("{")}


# --- collections -----------------------------------------------------------------------------------------------------


def list_collections(call: Call) -> Any:
    return {"collections": [{"name": name} for name in call.storage.collections if call.access.sees(name)]}


def create_collection(call: Call) -> Any:
    if "/" in call.name:
        problem = '[collection_name: collection name cannot contain "/" char]'
        raise Refused(422, f"Validation error in path parameters: {problem}")
    call.storage.create(call.name, call.body)
    return True


def collection_info(call: Call) -> Any:
    """Values that the double does not use are those of a server with its defaults."""
    collection, about = call.collection, call.collection.about
    points = collection.index_points()
    config: dict[str, Any] = {
        "params": {
            "vectors": {"size": about.size, "distance": about.distance},
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        },
        "hnsw_config": HNSW_DEFAULTS,
        "optimizer_config": OPTIMIZER_DEFAULTS,
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
        "quantization_config": None,
    }
    config |= {"strict_mode_config": about.strict_mode} if about.strict_mode else {}
    config |= {"metadata": about.metadata} if about.metadata else {}
    return {
        "status": "green",
        "optimizer_status": "ok",
        "indexed_vectors_count": 0,
        "points_count": collection.points_count,
        "segments_count": 1,
        "config": config,
        "payload_schema": {name: index_json(schema, points[name]) for name, schema in about.indexes.items()},
        "update_queue": {"length": 0},
    }


HNSW_DEFAULTS = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
OPTIMIZER_DEFAULTS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
    "prevent_unoptimized": None,
}


def index_json(schema: Any, points: int) -> dict[str, Any]:
    if isinstance(schema, dict):
        return {"data_type": schema["type"], "params": schema, "points": points}
    return {"data_type": schema, "points": points}


def change_collection(call: Call) -> Any:
    known(call.body, {"metadata", "strict_mode_config"}, "the change of a collection")
    call.collection.change(call.body.get("metadata"), call.body.get("strict_mode_config"))
    return True


def create_index(call: Call) -> Any:
    known(call.body, {"field_name", "field_schema"}, "the creation of an index")
    return done(call, call.collection.create_index(call.body["field_name"], call.body["field_schema"]))


def delete_index(call: Call) -> Any:
    return done(call, call.collection.delete_index(call.path["field"]))


def change_aliases(call: Call) -> Any:
    call.storage.change_aliases(call.body["actions"])
    return True


def list_aliases(call: Call) -> Any:
    return alias_list([pair for pair in call.storage.aliases.items() if call.access.sees(pair[1])])


def aliases_of_collection(call: Call) -> Any:
    return alias_list([pair for pair in call.storage.aliases.items() if pair[1] == call.name])


def alias_list(pairs: list[tuple[str, str]]) -> Any:
    return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in pairs]}


# --- points ----------------------------------------------------------------------------------------------------------


def upsert(call: Call) -> Any:
    known(call.body, {"points", "batch", "update_filter"}, "an upsert")
    points = call.body.get("points") or points_of_batch(call.body.get("batch") or {})
    return done(call, call.collection.upsert(points, call.body.get("update_filter")))


def points_of_batch(batch: dict[str, Any]) -> list[dict[str, Any]]:
    payloads = batch.get("payloads") or [{}] * len(batch["ids"])
    rows = zip(batch["ids"], batch["vectors"], payloads, strict=True)
    return [{"id": id_, "vector": vector, "payload": payload} for id_, vector, payload in rows]


def delete_points(call: Call) -> Any:
    known(call.body, {"points", "filter"}, "a deletion")
    return done(call, call.collection.delete_points(call.body.get("points"), call.body.get("filter")))


def retrieve(call: Call) -> Any:
    known(call.body, {"ids", "with_payload", "with_vector"}, "a retrieval")
    with_payload = call.body.get("with_payload", True)
    return call.collection.retrieve(call.body["ids"], with_payload, call.body.get("with_vector", False))


def count(call: Call) -> Any:
    known(call.body, {"filter", "exact"}, "a count")
    return {"count": call.collection.count(call.body.get("filter"))}


def scroll(call: Call) -> Any:
    known(call.body, {"offset", "limit", "filter", "with_payload", "with_vector"}, "a scroll")
    return call.collection.scroll(
        call.body.get("offset"),
        call.body.get("limit") or 10,
        call.body.get("filter"),
        call.body.get("with_payload", True),
        call.body.get("with_vector", False),
    )


# `params` steers how an approximate search is made; here every search is exact.
QUERY_PARTS = {"limit", "offset", "filter", "score_threshold", "with_payload", "with_vector", "params"}


def query(call: Call) -> Any:
    known(call.body, QUERY_PARTS | {"query", "lookup_from"}, "a query")
    return {"points": nearest(call, call.body.get("query"))}


def search(call: Call) -> Any:
    known(call.body, QUERY_PARTS | {"vector"}, "a search")
    return nearest(call, call.body["vector"])


def nearest(call: Call, wanted: Any) -> Any:
    wanted = wanted["nearest"] if isinstance(wanted, dict) and wanted.keys() == {"nearest"} else wanted
    vector, without = wanted, list[Any]()
    if isinstance(wanted, int | str):
        vector, without = example(call, point_id(wanted))
    elif not isinstance(wanted, list | None):
        raise not_imitated(f"the query {wanted}")
    return call.collection.query(
        vector,
        call.body.get("limit") or 10,
        call.body.get("offset") or 0,
        call.body.get("filter"),
        call.body.get("score_threshold"),
        call.body.get("with_payload", False),
        call.body.get("with_vector", False),
        without,
    )


def example(call: Call, id_: Any) -> tuple[list[float], list[Any]]:
    """Return the vector of a stored point, and that point as one to leave out of what is near to it."""
    source = call.body.get("lookup_from")
    if source is None:
        return call.collection.vector_of(id_), [id_]
    known(source, {"collection"}, "lookup_from")
    call.access.check(Need.READ, source["collection"])
    return call.storage.find(source["collection"]).vector_of(id_), []


def done(call: Call, operation: int) -> Any:
    return {"operation_id": operation, "status": "completed" if call.wait else "acknowledged"}


# --- the server itself -----------------------------------------------------------------------------------------------


def root(call: Call) -> Any:
    return Bare({"title": "qdrant - vector search engine", "version": call.version, "commit": "test-double"})


def telemetry(call: Call) -> Any:
    visible = [name for name in call.storage.collections if call.access.sees(name)]
    app = {"name": "qdrant", "version": call.version, "jwt_rbac": True, "startup": STARTUP}
    return {"id": PROCESS_ID, "app": app, "collections": {"number_of_collections": len(visible)}}


def not_served(_: Call) -> Any:
    raise not_imitated("this path")


ROUTES = [
    Route("GET", "/", Need.NOTHING, root),
    Route("GET", "/healthz", Need.NOTHING, lambda _: Text("healthz check passed")),
    Route("GET", "/livez", Need.NOTHING, lambda _: Text("healthz check passed")),
    Route("GET", "/readyz", Need.NOTHING, lambda _: Text("all shards are ready")),
    Route("GET", "/telemetry", Need.KEY, telemetry),
    Route("GET", "/aliases", Need.KEY, list_aliases),
    Route("GET", "/collections", Need.KEY, list_collections),
    Route("POST", "/collections/aliases", Need.MANAGE, change_aliases),
    Route("PUT", "/collections/{name}", Need.MANAGE, create_collection),
    Route("PATCH", "/collections/{name}", Need.MANAGE, change_collection),
    Route("DELETE", "/collections/{name}", Need.MANAGE, lambda call: call.storage.delete(call.name)),
    Route("GET", "/collections/{name}", Need.READ, collection_info),
    Route("GET", "/collections/{name}/exists", Need.READ, lambda call: {"exists": call.storage.exists(call.name)}),
    Route("GET", "/collections/{name}/aliases", Need.READ, aliases_of_collection),
    Route("PUT", "/collections/{name}/index", Need.WRITE, create_index),
    Route("DELETE", "/collections/{name}/index/{field}", Need.WRITE, delete_index),
    Route("PUT", "/collections/{name}/points", Need.WRITE, upsert),
    Route("POST", "/collections/{name}/points", Need.READ, retrieve),
    Route("POST", "/collections/{name}/points/delete", Need.WRITE, delete_points),
    Route("POST", "/collections/{name}/points/count", Need.READ, count),
    Route("POST", "/collections/{name}/points/scroll", Need.READ, scroll),
    Route("POST", "/collections/{name}/points/query", Need.READ, query),
    Route("POST", "/collections/{name}/points/search", Need.READ, search),
]
UNKNOWN = Route("", "", Need.KEY, not_served)


def find_route(method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
    """Return the route and the parameters in the path; an encoded slash belongs to a name."""
    parts = raw_path.strip("/").split("/")
    for route in ROUTES:
        parameters = route.matches(method, parts)
        if parameters is not None:
            return route, parameters
    return UNKNOWN, {}
