"""The page of figures shows what the last runs have written."""

import json
from pathlib import Path

from benchmarks.operator import Line, render

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/benchmarks.md").read_text("utf-8")


def test_the_figures_of_the_operator_are_those_of_the_last_run() -> None:
    run = json.loads((ROOT / "benchmarks/results/operator.json").read_text("utf-8"))

    assert render([Line(**each) for each in run["figures"]]) in PAGE
    assert ", ".join(f"{name} {value}" for name, value in run["machine"].items()) in PAGE


def test_the_figures_over_http_are_those_of_the_last_run() -> None:
    run = json.loads((ROOT / "benchmarks/results/http.json").read_text("utf-8"))

    assert ", ".join(f"{name} {value}" for name, value in run["machine"].items()) in PAGE
