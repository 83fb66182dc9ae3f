"""What a command prints: tables for people, plain lines in a pipe, JSON for programs.

Answers go to stdout, remarks and progress to stderr. Text from memories never reaches the terminal with its control
characters, which could move the cursor or rename the window.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from memory_runtime.cli.text import one_line, printable


class Output:
    """Where a command's answer goes, in the form the caller asked for."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console()
        self._errors = Console(stderr=True)

    def json(self, answer: object) -> None:
        """Print `answer` as one JSON document."""
        text = json.dumps(answer, ensure_ascii=False, indent=2)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(answer, indent=2)
        click.echo(text)

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table on a terminal, else one line a row with tabs between the cells and no header."""
        if not self._console.is_terminal:
            for row in rows:
                self._echo("\t".join(map(one_line, row)))
            return
        # Folded, not cut: a path whose line number is missing leads nowhere.
        headers = [Column(column, overflow="fold") for column in columns]
        table = Table(*headers, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self._console.print(table)

    def fields(self, values: Mapping[str, str]) -> None:
        """Print names and values, a line each."""
        if not self._console.is_terminal:
            self.rows((), values.items())
            return
        grid = Table.grid(padding=(0, 2, 0, 0))
        for name, value in values.items():
            grid.add_row(Text(name, style="bold"), Text(printable(value)))
        self._console.print(grid)

    def line(self, text: str) -> None:
        """Print one line."""
        self._echo(one_line(text))

    def remark(self, text: str) -> None:
        """Print one line on stderr: not part of the answer."""
        self._echo(one_line(text), err=True)

    def progress(self) -> Progress:
        """Return a progress bar on stderr; it shows nothing when stderr is not a terminal."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._errors,
            transient=True,
            disable=not self._errors.is_terminal,
        )

    def _echo(self, text: str, *, err: bool = False) -> None:
        encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
        click.echo(text.encode(encoding, "replace").decode(encoding), err=err)
