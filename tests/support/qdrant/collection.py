"""One collection: its description in a file, its points in Qdrant's engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import qdrant_edge as edge
from qdrant.filters import as_list, parse_filter, point_id
from qdrant.refusals import Refused, not_found, not_imitated, wrong_input

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Description:
    """What outlives the process beside the points. `indexes` is field → schema as it was sent."""

    name: str
    size: int
    distance: str
    metadata: dict[str, Any] = field(default_factory=dict)
    strict_mode: dict[str, Any] | None = None
    indexes: dict[str, Any] = field(default_factory=dict)
    operation: int = 0
    version_offset: int = 1


def saying_no(method: Callable[Concatenate[Collection, P], T]) -> Callable[Concatenate[Collection, P], T]:
    """Turn the engine's exceptions into the server's answer to bad input."""

    @wraps(method)
    def wrapped(self: Collection, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except Refused:
            raise
        except (TypeError, KeyError) as error:
            raise Refused(400, f"Format error in JSON body: {error!r}") from error
        except Exception as error:  # the engine has no class of its own
            raise wrong_input(str(error)) from error

    return wrapped  # type: ignore[return-value]


class Collection:
    """The engine is opened for the first point: hundreds of empty collections cost next to nothing."""

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder = folder
        self.about = description
        self._opened: edge.EdgeShard | None = None

    @classmethod
    def create(cls, folder: Path, description: Description) -> Collection:
        folder.mkdir()
        collection = cls(folder, description)
        collection.save()
        return collection

    @classmethod
    def load(cls, folder: Path) -> Collection:
        return cls(folder, Description(**json.loads((folder / "description.json").read_text())))

    def save(self) -> None:
        """Replace the file in one step: a kill leaves the old description or the new one."""
        new = self.folder / "description.new"
        new.write_text(json.dumps(asdict(self.about)))
        new.replace(self.folder / "description.json")

    def close(self) -> None:
        """After a kill instead of this, operations are counted from the last saved description."""
        if self._opened:
            self.save()
            self._opened.close()

    def delete(self) -> None:
        if self._opened:
            self._opened.close()
        shutil.rmtree(self.folder)

    # --- description -------------------------------------------------------------------------------------------------

    def change(self, metadata: dict[str, Any] | None, strict_mode: dict[str, Any] | None) -> None:
        self.about.metadata |= metadata or {}
        if strict_mode is not None:
            self.about.strict_mode = (self.about.strict_mode or {}) | strict_mode
        self.save()

    @saying_no
    def create_index(self, name: str, schema: Any) -> int:
        kind = index_kind(schema)
        if self._has_points:
            self._shard.update(edge.UpdateOperation.delete_field_index(name))
            self._shard.update(edge.UpdateOperation.create_field_index(name, kind))
        self.about.indexes[name] = schema
        self.about.operation += 2  # as the server counts: what was there is dropped first
        self.save()
        return self.about.operation

    @saying_no
    def delete_index(self, name: str) -> int:
        if self._has_points:
            self._shard.update(edge.UpdateOperation.delete_field_index(name))
        self.about.indexes.pop(name, None)
        self.about.operation += 1
        self.save()
        return self.about.operation

    def check_limit(self, limit: int) -> None:
        strict = self.about.strict_mode or {}
        most = strict.get("max_query_limit")
        if strict.get("enabled") and most is not None and limit > most:
            raise Refused(
                400,
                f'Bad request: Limit exceeded {limit} > {most} for "limit". '
                f'Help: Reduce the "limit" parameter to or below {most}.',
            )

    def index_points(self) -> dict[str, int]:
        """Return how many points each payload index holds."""
        held = self._shard.info().payload_schema if self._has_points else {}
        return {name: held[name].points if name in held else 0 for name in self.about.indexes}

    # --- points ------------------------------------------------------------------------------------------------------

    @saying_no
    def upsert(self, points: list[dict[str, Any]], update_filter: dict[str, Any] | None) -> int:
        made = [self._point(each) for each in points]
        condition = self.filter(update_filter)
        self._shard.update(edge.UpdateOperation.upsert_points(made, condition))
        return self._count_operation()

    def _point(self, json: dict[str, Any]) -> edge.Point:
        vector = json["vector"]
        if not isinstance(vector, list):
            raise not_imitated("named vectors")
        self.check_size(vector)
        return edge.Point(point_id(json["id"]), vector, json.get("payload") or {})

    def check_size(self, vector: list[float]) -> None:
        if len(vector) != self.about.size:
            raise wrong_input(f"Vector dimension error: expected dim: {self.about.size}, got {len(vector)}")

    @saying_no
    def delete_points(self, ids: list[Any] | None, condition: dict[str, Any] | None) -> int:
        if ids is not None:
            self._shard.update(edge.UpdateOperation.delete_points(list(map(point_id, ids))))
        else:
            self._shard.update(edge.UpdateOperation.delete_points_by_filter(self.filter(condition) or edge.Filter()))
        return self._count_operation()

    @saying_no
    def retrieve(self, ids: list[Any], with_payload: Any, with_vector: Any) -> list[dict[str, Any]]:
        found = self._shard.retrieve(list(map(point_id, ids)), selector(with_payload), with_vector)
        return [record_json(each, with_payload, with_vector) for each in found]

    @saying_no
    def count(self, condition: dict[str, Any] | None) -> int:
        return self._shard.count(edge.CountRequest(exact=True, filter=self.filter(condition)))

    @saying_no
    def scroll(self, offset: Any, limit: int, condition: Any, with_payload: Any, with_vector: Any) -> dict[str, Any]:
        self.check_limit(limit)
        request = edge.ScrollRequest(
            offset=None if offset is None else point_id(offset),
            limit=limit,
            filter=self.filter(condition),
            with_payload=selector(with_payload),
            with_vector=with_vector,
        )
        records, following = self._shard.scroll(request)
        points = [record_json(each, with_payload, with_vector) for each in records]
        return {"points": points, "next_page_offset": id_json(following)}

    @saying_no
    def query(
        self, vector: list[float] | None, limit: int, offset: int, condition: Any, least: float | None,
        with_payload: Any, with_vector: Any, without: list[Any],
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return the nearest points; any points when `vector` is None. `without` names points to leave out."""
        self.check_limit(limit)
        if vector is not None:
            self.check_size(vector)
        request = edge.QueryRequest(
            limit=limit,
            offset=offset,
            query=None if vector is None else edge.Query.Nearest(vector),
            filter=self.filter(condition, without),
            score_threshold=least,
            with_payload=selector(with_payload),
            with_vector=with_vector,
        )
        return [self._scored_json(each, with_payload, with_vector) for each in self._shard.query(request)]

    def vector_of(self, id_: Any) -> list[float]:
        """Return the stored vector of a point, for a query by example."""
        found = self.retrieve([id_], False, True)
        if not found:
            raise not_found(f"No point with id {id_} found")
        vector: list[float] = found[0]["vector"]
        return vector

    def filter(self, json: dict[str, Any] | None, without: list[Any] | None = None) -> edge.Filter | None:
        parsed = None if json is None else parse_filter(json, self._holders)
        if not without:
            return parsed
        return edge.Filter(must=None if parsed is None else [parsed], must_not=[edge.HasIdCondition(set(without))])

    def _holders(self, key: str, value: bool) -> set[Any]:
        records, _ = self._shard.scroll(edge.ScrollRequest(limit=2**31, with_payload=True))
        return {each.id for each in records if value in [v for v in values_at(each.payload, key) if v is value]}

    def _scored_json(self, point: edge.ScoredPoint, with_payload: Any, with_vector: Any) -> dict[str, Any]:
        version = point.version + self.about.version_offset
        scored = {"id": id_json(point.id), "version": version, "score": point.score}
        return scored | optional_parts(point, with_payload, with_vector)

    def _count_operation(self) -> int:
        self.about.operation += 1
        return self.about.operation

    @property
    def _has_points(self) -> bool:
        return self._opened is not None or (self.folder / "points").exists()

    @property
    def points_count(self) -> int:
        return self._shard.info().points_count if self._has_points else 0

    @property
    def _shard(self) -> edge.EdgeShard:
        if self._opened is None:
            self._opened = self._load_points() if self._has_points else self._make_points()
        return self._opened

    def _load_points(self) -> edge.EdgeShard:
        return edge.EdgeShard.load(str(self.folder / "points"))

    def _make_points(self) -> edge.EdgeShard:
        """Make them aside and move them in place, so that a kill leaves no half-made engine behind."""
        making = self.folder / "making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        distance = getattr(edge.Distance, self.about.distance)
        vectors = edge.EdgeVectorParams(size=self.about.size, distance=distance)
        shard = edge.EdgeShard.create(str(making), edge.EdgeConfig(vectors=vectors, max_search_threads=1))
        for name, schema in self.about.indexes.items():
            shard.update(edge.UpdateOperation.create_field_index(name, index_kind(schema)))
        shard.close()
        # The engine counts from 0 and has seen only the indexes that are left.
        self.about.version_offset = self.about.operation - len(self.about.indexes) + 1
        self.save()
        making.rename(self.folder / "points")
        return self._load_points()


def index_kind(schema: Any) -> edge.PayloadSchemaType:
    kind = schema["type"] if isinstance(schema, dict) else schema
    try:
        found: edge.PayloadSchemaType = getattr(edge.PayloadSchemaType, str(kind).capitalize())
    except AttributeError as error:
        raise Refused(400, f"Format error in JSON body: unknown payload schema {kind}") from error
    return found


def selector(with_payload: Any) -> Any:
    match with_payload:
        case {"include": keys}:
            return edge.PayloadSelector.Include(keys)
        case {"exclude": keys}:
            return edge.PayloadSelector.Exclude(keys)
        case _:
            return with_payload


def record_json(record: edge.Record, with_payload: Any, with_vector: Any) -> dict[str, Any]:
    return {"id": id_json(record.id)} | optional_parts(record, with_payload, with_vector)


def optional_parts(point: Any, with_payload: Any, with_vector: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if with_payload not in (False, None):
        parts["payload"] = point.payload or {}
    if with_vector not in (False, None):
        parts["vector"] = point.vector
    return parts


def id_json(id_: Any) -> Any:
    return id_ if id_ is None or isinstance(id_, int) else str(id_)


def values_at(payload: Any, path: str) -> list[Any]:
    """Return the values under a dotted path; of a list, those of each element."""
    if isinstance(payload, list):
        return [value for each in payload for value in values_at(each, path)]
    if not isinstance(payload, dict):
        return []
    name, _, rest = path.partition(".")
    value = payload.get(name.removesuffix("[]"))
    return values_at(value, rest) if rest else as_list(value)
