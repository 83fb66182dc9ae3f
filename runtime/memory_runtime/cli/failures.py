"""How a failure reaches the person at the shell: one sentence and an exit code, never a traceback."""

from __future__ import annotations

import click

from memory_contracts.errors import Conflict, NotFound, PlatformError, Rejected, Unavailable
from memory_runtime.cli.text import one_line

FAILED, REJECTED, UNAVAILABLE, NOT_AUTHORISED = 1, 2, 3, 4


class NotAuthorised(PlatformError):
    """The service does not know the token, or does not let it do this."""


def exit_code(error: PlatformError) -> int:
    """Return the exit code of `error`, as `soma --help` lists them."""
    match error:
        case NotFound() | Conflict():
            return FAILED
        case Rejected():
            return REJECTED
        case Unavailable():
            return UNAVAILABLE
        case NotAuthorised():
            return NOT_AUTHORISED
        case _:
            return FAILED


def sentence(error: PlatformError) -> str:
    """Return what went wrong, beginning with the field to change when one is known."""
    if error.field and not error.detail.startswith(error.field):
        return f"{error.field}: {error.detail}"
    return error.detail


def show(error: PlatformError) -> click.exceptions.Exit:
    """Print the sentence of `error` on stderr, and return what ends the command with its exit code."""
    click.echo(f"Error: {one_line(sentence(error))}", err=True)
    return click.exceptions.Exit(exit_code(error))
