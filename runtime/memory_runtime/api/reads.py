"""Routes that read memories."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from memory_contracts.identifiers import parse_coordinate
from memory_runtime.api import views
from memory_runtime.api.auth import Guard, Scope
from memory_runtime.api.headers import CONSISTENCY_TOKEN, etag, knows
from memory_runtime.api.models import Matches, MemoryView, RecallOptions, RecallParameters, RecallRequest, Stats
from memory_runtime.api.problems import HttpProblem
from memory_runtime.api.strict_json import StrictRoute
from memory_runtime.composition import Application
from memory_runtime.domain.records import Within
from memory_runtime.ports import Float32Array
from memory_runtime.services.recall import Question, Scoring

router = APIRouter(route_class=StrictRoute, dependencies=[Depends(Guard(Scope.READ))], tags=["read"])


@router.post("/recall", response_model=Matches)
async def recall(body: RecallRequest, request: Request) -> Response:
    """Recall the memories nearest to a text or a vector."""
    vector = None if body.vector is None else _unit(body.vector, _application(request).embedder.dimensions)
    return await _recall(request, body, body.query, vector, body.filters)


@router.get("/recall", response_model=Matches)
async def recall_by_query(parameters: Annotated[RecallParameters, Query()], request: Request) -> Response:
    """Recall by text, for a browser or a shell."""
    return await _recall(request, parameters, parameters.query, None, parameters.filters)


@router.get("/memories/{coord}", response_model=MemoryView)
async def get(coord: str, request: Request) -> Response:
    """Read one memory."""
    row = await _application(request).get(parse_coordinate(coord))
    if knows(request, row.version):
        return Response(status_code=304, headers={"ETag": etag(row.version)})
    return JSONResponse(views.memory(row), headers={"ETag": etag(row.version)})


@router.get("/stats", response_model=Stats)
async def stats(request: Request) -> Response:
    """Count this namespace's memories, as this replica sees them; costs the same at any size."""
    app = _application(request)
    types = {name: count for name, count in app.index.counts.items() if count}
    return JSONResponse(
        {
            "namespace": app.settings.namespace,
            "memories": sum(types.values()),
            "types": types,
            "embedder": app.embedder.embedder_id,
            "dimensions": app.embedder.dimensions,
        }
    )


async def _recall(
    request: Request,
    options: RecallOptions,
    text: str | None,
    vector: Float32Array | None,
    filters: dict[str, object] | None,
) -> Response:
    token = options.token or request.headers.get(CONSISTENCY_TOKEN)
    within = Within(options.type, filters or None)
    question = Question(text, vector, options.top_k, within, Scoring(options.scoring), token)
    app = _application(request)
    hits = await app.recall(question)
    return views.matches(hits, app.feed.token, explain=options.explain)


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _unit(numbers: list[float], dimensions: int) -> Float32Array:
    if len(numbers) != dimensions:
        raise HttpProblem(
            422, f"vector: has {len(numbers)} numbers, this namespace's have {dimensions}", field="vector"
        )
    vector = np.array(numbers, dtype=np.float64)
    largest = float(np.abs(vector).max())
    if largest == 0.0:
        raise HttpProblem(422, "vector: a zero vector has no direction", field="vector")
    vector /= largest  # so that the squares below can neither overflow nor vanish
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
