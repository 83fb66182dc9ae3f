"""``python -m memory_operator.local DIRECTORY``: the supervisor of a state directory, without a terminal."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from memory_contracts.errors import PlatformError
from memory_operator.local.state import StateDirectory
from memory_operator.local.supervisor import serve


def main(directory: str) -> None:
    """Serve until SIGTERM; exits with 1 and a sentence when that is impossible."""
    state = StateDirectory(Path(directory))
    try:
        asyncio.run(serve(state, state.read_options(), report=lambda status: None))
    except PlatformError as error:
        sys.exit(error.detail)


if __name__ == "__main__":
    main(sys.argv[1])
