"""`soma store`, `soma get`, `soma forget`: one memory by its coordinate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from memory_contracts.errors import NotFound, Rejected
from memory_contracts.identifiers import Coordinate, canonical_coordinate, parse_coordinate
from memory_runtime.cli.options import MEMORY_TYPES, data_command
from memory_runtime.cli.text import compact

if TYPE_CHECKING:
    from memory_runtime.cli.client import Client
    from memory_runtime.cli.output import Output

# A coordinate may begin with a minus sign, which is no option.
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}

STORE_EPILOG = """
\b
Examples:
  soma store --coord "1,2" --payload '{"text": "the build is green"}'
  soma store --coord "0.5,-3" --payload '{"text": "prefers tea", "who": "Ada"}' \\
      --type semantic --importance 2
"""
GET_EPILOG = """
\b
Examples:
  soma get 1,2
  soma get -1,2.5 -o json
"""
FORGET_EPILOG = """
\b
Examples:
  soma forget 1,2
  soma forget 1,2 3,4 -o json
"""


@click.command(epilog=STORE_EPILOG)
@click.option("--coord", required=True, metavar="COORD", help='Where the memory lives: 1 to 64 numbers, like "1,2.5".')
@click.option("--payload", required=True, metavar="JSON", help='The memory, a JSON object; its "text" is searched.')
@click.option("--type", type=MEMORY_TYPES, help="An event, or a fact.")
@click.option("--importance", type=click.FloatRange(min=0), help="How much the memory matters; more ranks higher.")
@data_command
def store(client: Client, output: Output, coord: str, payload: str, **rest: str | float | None) -> None:
    """Store one memory at a coordinate; a memory that is there already is replaced."""
    memory: dict[str, Any] = {
        "coord": list(parse_coordinate(coord, field="--coord")),
        "payload": parse_payload(payload),
    }
    answer = client.store(memory | {name: value for name, value in rest.items() if value is not None})
    if output.as_json:
        output.json(answer)
    else:
        where = canonical_coordinate(memory["coord"])
        output.line(f"Stored {where} as {answer.get('id')}, version {answer.get('version')}.")


@click.command(epilog=GET_EPILOG, context_settings=NEGATIVE_NUMBERS)
@click.argument("coord")
@data_command
def get(client: Client, output: Output, coord: str) -> None:
    """Print the memory at a coordinate."""
    memory = client.get(parse_coordinate(coord, field="COORD"))
    if output.as_json:
        output.json(memory)
    else:
        output.fields({name: compact(value) for name, value in memory.items()})


@click.command(epilog=FORGET_EPILOG, context_settings=NEGATIVE_NUMBERS)
@click.argument("coords", metavar="COORD...", nargs=-1, required=True)
@data_command
def forget(client: Client, output: Output, coords: tuple[str, ...]) -> None:
    """Delete the memories at some coordinates, without asking. The exit code is 1 when one of them held nothing."""
    places = [parse_coordinate(coord, field="COORD") for coord in coords]
    deleted, missing = _forget_each(client, places)
    if output.as_json:
        output.json({"deleted": deleted, "missing": missing})
    else:
        for place in deleted:
            output.line(f"Deleted {canonical_coordinate(place)}.")
        for place in missing:
            output.remark(f"There is no memory at {canonical_coordinate(place)}.")
    if missing:
        click.get_current_context().exit(1)


def parse_payload(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`; raises `Rejected`."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"not JSON: {error}", field="--payload") from None
    if not isinstance(payload, dict):
        raise Rejected('a payload is a JSON object, like {"text": "…"}', field="--payload")
    return payload


def _forget_each(client: Client, places: list[Coordinate]) -> tuple[list[Coordinate], list[Coordinate]]:
    deleted, missing = [], []
    for place in places:
        try:
            client.forget(place)
            deleted.append(place)
        except NotFound:
            missing.append(place)
    return deleted, missing
