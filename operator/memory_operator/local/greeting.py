"""What a person is told when the service is ready: where it is, and two lines to try as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

EXAMPLE_STORE = '{"coord": "1,2", "payload": {"text": "the build is green"}}'


def greeting(endpoint: str, token_file: str, *, wanted_port: int, found_by_itself: bool) -> str:
    """Return the text; `found_by_itself` says whether a command in this folder finds the service without options."""
    token = _short(Path(token_file))
    header = f'"Authorization: Bearer $(cat {shlex.quote(token)})"'
    where = "" if found_by_itself else f" --url {endpoint} --token-file {shlex.quote(token)}"
    moved = (
        "" if endpoint.endswith(f":{wanted_port}") else f"\nport {wanted_port} was taken, the API has the next free one"
    )
    return f"""{moved}
endpoint    {endpoint}
token file  {token}

Try:
  curl {endpoint}/store -H {header} -H 'Content-Type: application/json' -d '{EXAMPLE_STORE}'
  {_soma()} recall{where} 'is the build green?'"""


def _soma() -> str:
    """Return how to call the very command that is running, whether or not its folder is on the PATH."""
    command = Path(sys.executable).with_name("soma")
    found = shutil.which("soma")
    if not command.is_file() or (found and Path(found).resolve() == command.resolve()):
        return "soma"
    return shlex.quote(_short(command))


def _short(path: Path) -> str:
    """Return the path as seen from here when that is shorter."""
    relative = os.path.relpath(path)
    return min(relative, str(path), key=len)
