"""Console blocks of a page: the commands it shows, and what they print on a terminal.

``python tests/support/transcript.py README.md`` writes the outputs anew (``make readme``).
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 100
# Lines that come or not, as fast as the machine is: a condition of `soma up`, a progress bar.
PASSING = r"^.*(waiting for readiness|remembering .*%.*)\n"
LINE = re.compile(r"(?:.*\\\n)*.*")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One command and the lines that follow it on the page."""

    line: str
    output: str


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of the page's console blocks; a line that ends in a backslash goes on."""
    for block in BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = joined(part).partition("\n")
            yield Command(line, output)


def run(line: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Return what `line` prints on a terminal of COLUMNS columns, as a person sees it in the end."""
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "-c", f"stty cols {COLUMNS}; {line}"],
        cwd=folder,
        env={**os.environ, **environment, "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b"".join(_read(leader))
    os.close(leader)
    shell.wait(60)
    return settled(seen.decode())


def settled(seen: str) -> str:
    """Return the text without colours, trailing blanks, and lines that were drawn over."""
    text = re.sub(r"[^\n]*\r?\n?(?=\x1b\[1A\x1b\[2K)", "", seen.replace("\r\n", "\n"))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join(lines).strip("\n") + "\n"


def comparable(output: str) -> str:
    """Replace what differs from run to run: ports, times, ids, tokens."""
    for pattern, name in (
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"in \d+\.\d s", "in N s"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"t1-[0-9a-f]+", "TOKEN"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+\+00:00", "TIME"),
        (PASSING, ""),
    ):
        output = re.sub(pattern, name, output, flags=re.MULTILINE)
    return output.strip("\n")


def written_anew(page: str, execute: Callable[[str], str]) -> str:
    """Return the page with the outputs that `execute` gives for its commands."""

    def fill(block: re.Match[str]) -> str:
        parts = re.split(r"^\$ ", block[1], flags=re.MULTILINE)[1:]
        shown = [LINE.match(part)[0] for part in parts]  # type: ignore[index]  # every part begins with a line
        outputs = [re.sub(PASSING, "", execute(joined(line)), flags=re.MULTILINE) for line in shown]
        blocks = [f"$ {line}\n{output}" for line, output in zip(shown, outputs, strict=True)]
        return "```console\n" + "\n".join(blocks) + "```"

    return BLOCK.sub(fill, page)


def joined(line: str) -> str:
    """Return a command that was broken over lines as one."""
    return re.sub(r"\\\n\s*", "", line)


@contextmanager
def clone_of(root: Path, parent: Path) -> Iterator[Callable[..., str]]:
    """Give a way to run commands in a folder with the project's documents, `soma` on the PATH; nothing runs after."""
    folder = parent / "a clone"
    folder.mkdir()
    for name in ("docs", "examples"):
        shutil.copytree(root / name, folder / name)
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def execute(line: str, port: int = 9595) -> str:
        if line == "make up":  # the recipe of the Makefile
            line = f"soma up -f examples/namespace.yaml --detach --port {port}"
        return run(line.replace("localhost:9595", f"localhost:{port}"), folder, environment)

    try:
        yield execute
    finally:
        execute("soma down --purge")


def _read(leader: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the other end is closed
            return
        if not chunk:
            return
        yield chunk


if __name__ == "__main__":
    page = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as parent, clone_of(page.parent, Path(parent)) as execute:
        page.write_text(written_anew(page.read_text("utf-8"), execute), "utf-8")
