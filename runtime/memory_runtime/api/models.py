"""Request and response bodies. The names on the wire are those of SomaFractalMemory: coord, payload, matches, …"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from memory_contracts.errors import Rejected
from memory_contracts.identifiers import MAX_DIMENSIONS, Coordinate, parse_coordinate
from memory_runtime.api.strict_json import MAX_TEXT_BYTES, parse

MAX_BATCH = 5_000
MAX_TOP_K = 1_000
MAX_VECTOR = 4_096
MAX_TOKEN = 64


def _coordinate(value: object) -> Coordinate:
    try:
        return parse_coordinate(value)
    except Rejected as error:
        raise ValueError(error.detail) from None


Coord = Annotated[
    tuple[float, ...],
    BeforeValidator(_coordinate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": MAX_DIMENSIONS},
                {"type": "string", "examples": ["1.0,2.5"]},
            ]
        }
    ),
]
MemoryType = Literal["episodic", "semantic"]
Importance = Annotated[float, Field(ge=0, le=1e12, description="On any scale; it is normalised by what is stored.")]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_BYTES)]


class Body(BaseModel):
    """Base of request bodies: unknown fields and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StoreItem(Body):
    """One memory. The coordinate is its name: storing it again is an update."""

    coord: Coord
    payload: dict[str, Any]
    type: MemoryType = "episodic"
    importance: Importance = 1.0


class BulkRequest(Body):
    """Many memories in one transaction."""

    items: list[Any] = Field(min_length=1, max_length=MAX_BATCH, description="Bodies as of /store.")
    atomic: bool = Field(default=True, description="false: store the valid items, report the others.")


class RememberRequest(Body):
    """Text to keep; the coordinate is derived from it, so the same text is the same memory."""

    text: Text
    metadata: dict[str, Any] = Field(default_factory=dict, description="Further fields of the payload.")
    type: MemoryType = "episodic"
    importance: Importance = 1.0

    @model_validator(mode="after")
    def _text_is_not_metadata(self) -> RememberRequest:
        if "text" in self.metadata:
            raise ValueError("metadata.text would replace the text; choose another name")
        return self


class RecallOptions(BaseModel):
    """What every form of recall understands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top_k: int = Field(default=10, ge=1, le=MAX_TOP_K)
    type: MemoryType | None = None
    scoring: Literal["hybrid", "classic"] = "hybrid"
    token: str | None = Field(default=None, max_length=MAX_TOKEN, description="See at least the write of this token.")
    explain: bool = Field(default=False, description="Add the parts of each score.")


class RecallRequest(RecallOptions, strict=True):
    """A recall by text or by vector."""

    query: Text | None = None
    vector: list[float] | None = Field(default=None, min_length=1, max_length=MAX_VECTOR)
    filters: dict[str, Any] | None = Field(default=None, description="The payload must contain this JSON.")

    @model_validator(mode="after")
    def _one_of_query_and_vector(self) -> RecallRequest:
        if (self.query is None) == (self.vector is None):
            raise ValueError("send either query or vector")
        return self


class RecallParameters(RecallOptions):
    """GET /recall: the same in the query string; filters as JSON."""

    query: Text
    filters: Json[dict[str, Any]] | None = None

    @field_validator("filters", mode="before")
    @classmethod
    def _as_strict_as_a_body(cls, value: object) -> object:
        if isinstance(value, str):
            parse(value.encode(), "filters")
        return value


class Stored(BaseModel):
    """What became of a memory; it is durable."""

    ok: Literal[True] = True
    id: UUID
    coord: list[float]
    version: int
    token: str = Field(description="Consistency token: a recall that sends it sees this write on every replica.")


class BulkResult(BaseModel):
    """One line of a bulk answer, in the order of the items."""

    ok: bool
    id: UUID | None = None
    coord: list[float] | None = None
    version: int | None = None
    error: dict[str, str] | None = None


class BulkStored(BaseModel):
    """`stored` memories are durable."""

    stored: int
    results: list[BulkResult]
    token: str | None


class MemoryView(BaseModel):
    """A stored memory."""

    id: UUID
    coord: list[float]
    payload: dict[str, Any]
    type: MemoryType
    importance: float
    version: int
    created: datetime
    updated: datetime


class Match(MemoryView):
    """A recalled memory."""

    score: float = Field(ge=0, le=1)
    explain: dict[str, float] | None = Field(default=None, description="cosine, keyword, importance_norm")


class Matches(BaseModel):
    """Best first."""

    matches: list[Match]
    token: str | None


class Stats(BaseModel):
    """This namespace as this replica sees it."""

    namespace: str
    memories: int
    types: dict[str, int]
    embedder: str
    dimensions: int


class Problem(BaseModel):
    """RFC 9457, with the faulty field."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    errors: list[dict[str, str]] | None = None
