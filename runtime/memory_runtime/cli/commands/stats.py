"""`soma stats`: the numbers of the namespace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from memory_runtime.cli.options import data_command
from memory_runtime.cli.text import compact

if TYPE_CHECKING:
    from memory_runtime.cli.client import Client
    from memory_runtime.cli.output import Output

EPILOG = """
\b
Examples:
  soma stats
  soma stats -o json
"""


@click.command(epilog=EPILOG)
@data_command
def stats(client: Client, output: Output) -> None:
    """Print the numbers of the namespace."""
    answer = client.stats()
    if output.as_json:
        output.json(answer)
    else:
        output.fields(dict(flatten(answer)))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and values of a nested object."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", compact(value)
