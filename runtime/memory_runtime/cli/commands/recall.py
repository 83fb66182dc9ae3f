"""`soma recall`: memories that answer a question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from memory_contracts.errors import Rejected
from memory_runtime.cli.options import MEMORY_TYPES, data_command
from memory_runtime.cli.text import compact, snippet

if TYPE_CHECKING:
    from memory_runtime.cli.client import Client
    from memory_runtime.cli.output import Output

EPILOG = """
\b
Examples:
  soma recall "how do we rotate credentials?"
  soma recall "release notes" --top-k 3 --filter source=CHANGELOG.md
  soma recall "budget" --filter year=2024 --filter 'team="7"' -o json

A filter's value is read as JSON when it is JSON (2024, true, "7"), else as text.
"""


@click.command(epilog=EPILOG)
@click.argument("question", nargs=-1, required=True)
@click.option("--top-k", type=click.IntRange(min=1), default=10, show_default=True, help="Most matches to return.")
@click.option("--type", type=MEMORY_TYPES, help="Only memories of this type.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Only memories whose payload has this.")
@click.option("--scoring", type=click.Choice(["hybrid", "classic"]), help="How matches are ranked.")
@click.option("--explain", is_flag=True, help="Show the parts of each score.")
@data_command
def recall(
    client: Client, output: Output, question: tuple[str, ...], filters: tuple[str, ...], **rest: str | int | None
) -> None:
    """Print the memories that answer a question, the best first: score, where it comes from, text."""
    request = {"query": " ".join(question), "filters": parse_filters(filters), **rest}
    answer = client.recall({name: value for name, value in request.items() if value})
    matches = answer.get("matches", [])
    if output.as_json:
        output.json(answer)
    elif matches:
        columns = ("score", "where", "text", "why") if rest["explain"] else ("score", "where", "text")
        output.rows(columns, [describe(match)[: len(columns)] for match in matches])
    else:
        output.remark("No memory matches.")


def parse_filters(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return the filters written as ``key=value``; raises `Rejected` for one that is not."""
    filters = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (key and separator):
            raise Rejected(f"{pair!r} is not KEY=VALUE", field="--filter")
        filters[key] = _value(value)
    return filters


def describe(match: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return score, origin, text and score parts of a match, as a person reads them."""
    payload = match.get("payload") or {}
    text = snippet(compact(payload.get("text") or payload))
    return f"{match.get('score', 0):.3f}", origin(match), text, _parts(match.get("explain"))


def origin(match: Mapping[str, Any]) -> str:
    """Return where a match comes from: ``source:line`` when its payload says so, else its coordinate."""
    payload = match.get("payload") or {}
    source, line = payload.get("source"), payload.get("line")
    if isinstance(source, str) and source:
        return f"{source}:{line}" if isinstance(line, int) else source
    return ",".join(str(number) for number in match.get("coord", []))


def _value(text: str) -> object:
    try:
        # NaN and the infinities are words of Python's JSON only.
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


def _parts(explain: object) -> str:
    if not isinstance(explain, dict):
        return "" if explain is None else str(explain)
    return " ".join(
        f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}" for name, value in explain.items()
    )
