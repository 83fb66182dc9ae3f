"""The table and the JSON: figures beside floor, baseline and target."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.goals import (
    BASELINE_MEMORY,
    BASELINE_P50,
    BASELINE_SOURCE,
    BASELINE_STORES,
    MEMORY_TARGET,
    Target,
    target,
)
from benchmarks.load import Figures
from benchmarks.operations import Kind, Measured, Result

HEADS = (
    "size",
    "clients",
    "operation",
    "ours p50",
    "p95",
    "per second",
    "API cpu",
    "floor p50",
    "floor /s",
    "× floor",
    "baseline p50",
    "× faster",
    "target",
    "met",
)
MEMORY_HEADS = ("size", "RSS MiB", "PSS MiB", "Postgres MiB", "baseline", "× smaller", "target", "met")
NOTES = f"""Milliseconds; medians over interleaved rounds. Floor: the same SQL by asyncpg alone, same run, same data.
× floor compares p50 with one client, rates with several. A /store commits, so it cannot beat the fsync floor.
API cpu: processor time of the API process a call; unlike the rest, hardly disturbed by a busy machine.
Baseline: {BASELINE_SOURCE}; its rate with several clients is that of 8."""
MACHINE_HEADS = ("size", "clients", "what the machine allows", "p50", "p95", "per second")
MACHINE_KINDS = {Kind.HEALTH: "client+HTTP floor (GET /healthz)", Kind.BARE: "fsync floor (one committed row)"}


def machine(postgres_version: str) -> dict[str, Any]:
    """Return what a reader needs to judge the figures, and nothing that names the machine."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "postgres": postgres_version,
    }


def render(results: Sequence[Result], facts: dict[str, Any]) -> str:
    """Return the tables as markdown. Latencies are milliseconds; bulk rates count memories."""
    rows = [row for result in results for row in result.rows]
    machine_rows = [_machine_line(row) for row in rows if row.operation.kind in MACHINE_KINDS]
    return "\n\n".join(
        [
            ", ".join(f"{name} {value}" for name, value in facts.items()),
            _table(HEADS, [_line(row) for row in rows if row.operation.kind not in MACHINE_KINDS]),
            _table(MEMORY_HEADS, [_memory_line(result) for result in results]),
            _table(MACHINE_HEADS, machine_rows),
            NOTES,
        ]
    )


def write(path: Path, results: Sequence[Result], facts: dict[str, Any], *, seconds: float) -> None:
    """Write all figures as JSON."""
    content = {
        "benchmark": "http",
        "machine": facts,
        "seconds": round(seconds, 1),
        "baseline_source": BASELINE_SOURCE,
        "units": {
            "p50": "ms",
            "p95": "ms",
            "api_cpu": "ms a call",
            "rate": "memories or calls a second",
            "memory": "MiB",
        },
        "operations": [_as_json(row) for result in results for row in result.rows],
        "processes": [_memory_as_json(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _line(row: Measured) -> list[str]:
    operation, goal = row.operation, _target(row)
    assert row.ours
    assert row.floor
    baseline = BASELINE_P50.get((operation.kind, operation.each, row.size)) if operation.clients == 1 else None
    if operation.clients > 1 and operation.kind is Kind.STORE and row.size == 0:
        old, faster = f"{BASELINE_STORES}/s", f"{row.ours.rate / BASELINE_STORES:.0f}"
    else:
        old, faster = (_number(baseline), f"{baseline / row.ours.p50:.0f}") if baseline else ("", "")
    return [
        f"{row.size:,}",
        str(operation.clients),
        str(operation),
        *_figures(row.ours),
        _number(row.cpu or 0.0),
        _number(row.floor.p50),
        _number(row.floor.rate),
        f"{_times_floor(row.ours, row.floor, operation.clients):.1f}",
        old,
        faster,
        str(goal or ""),
        _verdict(goal.met_by(row.ours) if goal else None),
    ]


def _machine_line(row: Measured) -> list[str]:
    figures = row.ours or row.floor
    assert figures
    return [f"{row.size:,}", str(row.operation.clients), MACHINE_KINDS[row.operation.kind], *_figures(figures)]


def _memory_line(result: Result) -> list[str]:
    assert result.memory
    bound, old = MEMORY_TARGET.get(result.size), BASELINE_MEMORY.get(result.size)
    return [
        f"{result.size:,}",
        f"{result.memory.rss:.0f}",
        "" if result.memory.pss is None else f"{result.memory.pss:.0f}",
        f"{result.schema_mib:.0f}",
        f"{old:.0f}" if old else "",
        f"{old / result.memory.rss:.1f}" if old else "",
        f"≤ {bound:.0f} MiB" if bound else "",
        _verdict(result.memory.rss <= bound if bound else None),
    ]


def _as_json(row: Measured) -> dict[str, Any]:
    operation, goal = row.operation, _target(row)
    return {
        "size": row.size,
        "clients": operation.clients,
        "operation": str(operation),
        "ours": asdict(row.ours) if row.ours else None,
        "api_cpu": row.cpu,
        "floor": asdict(row.floor) if row.floor else None,
        "target": asdict(goal) if goal else None,
        "met": goal.met_by(row.ours) if goal and row.ours else None,
    }


def _memory_as_json(result: Result) -> dict[str, Any]:
    assert result.memory
    return {"size": result.size, "api": asdict(result.memory), "postgres_schema": result.schema_mib}


def _rounded(value: Any) -> Any:
    """Return the JSON value with its floats cut to what a measurement can mean."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def _target(row: Measured) -> Target | None:
    return target(row.operation.kind, row.operation.each, row.operation.clients, row.size)


def _times_floor(ours: Figures, floor: Figures, clients: int) -> float:
    return ours.p50 / floor.p50 if clients == 1 else floor.rate / ours.rate


def _figures(figures: Figures) -> list[str]:
    return [_number(figures.p50), _number(figures.p95), _number(figures.rate)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _verdict(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [list(heads), *map(list, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
