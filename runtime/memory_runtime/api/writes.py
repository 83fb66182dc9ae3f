"""Routes that change memories."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import TypeAdapter, ValidationError

from memory_contracts.identifiers import derive_coordinate, parse_coordinate
from memory_runtime.api import problems, views
from memory_runtime.api.auth import Guard, Scope
from memory_runtime.api.headers import REPLAYED, idempotency_key, no_precondition, precondition
from memory_runtime.api.models import BulkRequest, BulkStored, RememberRequest, Stored, StoreItem
from memory_runtime.api.problems import HttpProblem
from memory_runtime.api.strict_json import StrictRoute
from memory_runtime.composition import Application
from memory_runtime.domain.records import IdempotencyKey, Precondition, Written
from memory_runtime.services.store import NewMemory

router = APIRouter(route_class=StrictRoute, dependencies=[Depends(Guard(Scope.WRITE))], tags=["write"])
Key = Annotated[IdempotencyKey | None, Depends(idempotency_key)]
If = Annotated[Precondition, Depends(precondition)]
ITEM: TypeAdapter[StoreItem] = TypeAdapter(StoreItem)


@router.post("/store", response_model=Stored)
async def store(item: StoreItem, request: Request, key: Key, condition: If) -> Response:
    """Store a memory, or the next version of the one at this coordinate. Answers once it is durable."""
    written, replayed = await _write(request, [_new(item)], condition, key)
    return _mark(views.stored(item.coord, written[0]), replayed)


@router.post("/remember", response_model=Stored)
async def remember(body: RememberRequest, request: Request, key: Key, condition: If) -> Response:
    """Store text under a coordinate derived from it."""
    coordinate = derive_coordinate("text", body.text)
    new = NewMemory(coordinate, {"text": body.text, **body.metadata}, body.type, body.importance)
    written, replayed = await _write(request, [new], condition, key)
    return _mark(views.stored(coordinate, written[0]), replayed)


@router.post("/store_bulk", response_model=BulkStored, dependencies=[Depends(no_precondition)])
async def store_bulk(body: BulkRequest, request: Request, key: Key) -> Response:
    """Store many memories in one transaction: all or nothing, or with atomic=false the valid ones."""
    items, results = _validate(body.items)
    faults = [result["error"] for result in results if result]
    if faults and (body.atomic or not items):
        return problems.invalid(faults)
    new = [_new(item) for item in items.values()]
    written, replayed = await _write(request, new, Precondition(), key)
    for (at, item), one in zip(items.items(), written, strict=True):
        results[at] = views.bulk_line(item.coord, one)
    return _mark(views.stored_many(results, written), replayed)


@router.delete("/memories/{coord}", response_model=Stored)
async def forget(coord: str, request: Request, key: Key, condition: If) -> Response:
    """Delete a memory: its text is gone from the store and from every recall at once."""
    app: Application = request.app.state.application
    coordinate = parse_coordinate(coord)
    if condition.absent:
        raise HttpProblem(422, "If-None-Match: a delete takes If-Match only", field="If-None-Match")
    gone, replayed = await app.forget(coordinate, precondition=condition, key=key)
    app.follower.wrote(1)
    return _mark(views.stored(coordinate, gone), replayed)


async def _write(
    request: Request, items: list[NewMemory], condition: Precondition, key: IdempotencyKey | None
) -> tuple[list[Written], bool]:
    app: Application = request.app.state.application
    result = await app.store(items, precondition=condition, key=key)
    app.follower.wrote(len(items))
    return result


def _validate(items: list[Any]) -> tuple[dict[int, StoreItem], list[dict[str, Any]]]:
    """Return the valid items by position, and for each position an empty line or its fault."""
    valid: dict[int, StoreItem] = {}
    lines: list[dict[str, Any]] = []
    for at, item in enumerate(items):
        try:
            valid[at] = ITEM.validate_python(item)
            lines.append({})
        except ValidationError as error:
            fault = problems.describe(error.errors())[0]
            field = f"items.{at}.{fault['field']}".rstrip(".")
            lines.append({"ok": False, "error": {"field": field, "detail": fault["detail"]}})
    return valid, lines


def _new(item: StoreItem) -> NewMemory:
    return NewMemory(item.coord, item.payload, item.type, item.importance)


def _mark(response: Response, replayed: bool) -> Response:
    if replayed:
        response.headers[REPLAYED] = "true"
    return response
