"""What all data commands share: where the service is, how the answer is shown, how a failure ends."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from memory_contracts.errors import PlatformError, Rejected
from memory_runtime.cli.failures import show

MEMORY_TYPES = click.Choice(["episodic", "semantic"])
FORMATS = click.Choice(["table", "json"])


def data_command(callback: Callable[..., None]) -> Callable[..., None]:
    """Give `callback` a client and an output as its first two arguments, and a command the options that choose them.

    Client and output are imported when the command runs, not for its help: HTTP and tables are slow imports.
    """

    @click.option("--url", metavar="URL", help="Address of the service; default SOMA_URL, else the nearest .soma.")
    @click.option("--token", metavar="TOKEN", help="Bearer token; default SOMA_API_TOKEN. Others can see it in `ps`.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="File that holds the token; default SOMA_API_TOKEN_FILE, else the nearest .soma.",
    )
    @click.option(
        "-o",
        "--output",
        "format_",
        type=FORMATS,
        default="table",
        help="For people or for programs.",
        show_default=True,
    )
    @functools.wraps(callback)
    def run(*, url: str | None, token: str | None, token_file: Path | None, format_: str, **own: Any) -> None:
        from memory_runtime.cli.client import Client  # noqa: PLC0415
        from memory_runtime.cli.endpoint import find_endpoint  # noqa: PLC0415
        from memory_runtime.cli.output import Output  # noqa: PLC0415

        try:
            endpoint = find_endpoint(url, token, token_file, os.environ, _current_folder())
            with Client(endpoint) as client:
                callback(client, Output(as_json=format_ == "json"), **own)
        except PlatformError as error:
            raise show(error) from error

    return run


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise Rejected("the current folder no longer exists; go to another one") from None
