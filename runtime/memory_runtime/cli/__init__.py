"""The `soma` command: talks to a service over HTTP, from a shell.

Here live the command group, the client and what people and programs see of the answers. No business rule, no driver:
whatever a command can do, the HTTP API can do. Commands of other packages arrive through the entry points
``soma.commands``.
"""

from __future__ import annotations


def main() -> None:
    """Run the `soma` command."""
    from memory_runtime.cli.app import soma  # noqa: PLC0415 - the package is imported by tools that need no click

    soma()
