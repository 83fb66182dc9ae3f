"""The README's commands, run as written; what they print is what it says."""

from __future__ import annotations

from pathlib import Path

from soma_command import free_port
from transcript import clone_of, commands, comparable

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_what_its_commands_print(tmp_path: Path) -> None:
    port = free_port()
    shown = list(commands((ROOT / "README.md").read_text("utf-8")))
    assert shown[0].line == "make up"
    with clone_of(ROOT, tmp_path) as execute:
        for each in shown:
            assert comparable(execute(each.line, port)) == comparable(each.output), f"{each.line}\nrun: make readme"
