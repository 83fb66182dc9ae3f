"""The command group: its own commands, and those other packages add through the entry points ``soma.commands``.

Every module is imported when its command is asked for, so that one command does not pay for the others.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import click

DISTRIBUTION = "memory-operator"
PLUGIN_GROUP = "soma.commands"
# In the order of the help page: name → the module under `commands` that defines it.
OWN_COMMANDS = {
    "remember": "remember",
    "recall": "recall",
    "store": "memories",
    "get": "memories",
    "forget": "memories",
    "stats": "stats",
}
EPILOG = """
\b
Examples:
  soma remember notes/ README.md
  soma recall "how do we rotate credentials?"
  soma store --coord "1,2" --payload '{"text": "the build is green"}'

\b
The service is found by --url and --token-file (or --token), else by SOMA_URL
and SOMA_API_TOKEN_FILE (or SOMA_API_TOKEN), else by the nearest .soma folder,
here or above, that was served from.

\b
Exit codes:
  0  done
  1  not found, or the operation failed
  2  wrong usage, or the service rejected the input
  3  the service cannot be reached, or is unavailable
  4  not authorised
"""


class CommandGroup(click.Group):
    """A group that imports a command only when someone asks for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every name, own commands first."""
        return list(dict.fromkeys([*OWN_COMMANDS, *load_plugins()]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command called `cmd_name`; an own command never loads a plugin."""
        if cmd_name in OWN_COMMANDS:
            module = importlib.import_module(f"memory_runtime.cli.commands.{OWN_COMMANDS[cmd_name]}")
            command: click.Command = getattr(module, cmd_name)
            return command
        return load_plugins().get(cmd_name)


@functools.cache
def load_plugins() -> dict[str, click.Command]:
    """Return the commands of other packages by name; one that cannot be loaded becomes one line on stderr."""
    entries = sorted(metadata.entry_points(group=PLUGIN_GROUP), key=lambda entry: entry.name)
    return {command.name: command for entry in entries for command in _load(entry) if command.name}


def _load(entry: metadata.EntryPoint) -> Iterator[click.Command]:
    try:
        yield from entry.load()
    except ModuleNotFoundError as error:
        _hint(entry, f"{error.name or error} is not installed; try: pip install '{DISTRIBUTION}[local]'")
    except Exception as error:  # whatever is wrong with a plugin, the other commands must go on working
        _hint(entry, f"{type(error).__name__}: {error}".splitlines()[0])


def _hint(entry: metadata.EntryPoint, reason: str) -> None:
    click.echo(f"hint: the {entry.name!r} commands are not available: {reason}", err=True)


@click.group(cls=CommandGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION, prog_name="soma")
def soma(**_options: Any) -> None:
    """Store memories and recall them by meaning, in a service that runs here or elsewhere."""
