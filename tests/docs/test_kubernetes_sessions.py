"""What the pages about Kubernetes show is run as written, on a real API server; what it prints is what they say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster_transcript import Sql, Stage, actions, comparable, stage
from kubernetes_fixtures import promised
from transcript import Command

ROOT = Path(__file__).parents[2]
# What only looks is repeated for a while: Events and counts come a moment after what they tell of.
READS = ("kubectl get ", "kubectl events ")
PATIENCE_SECONDS = 20.0


@pytest.mark.parametrize("page", ["README.md", "docs/kubernetes.md", "docs/deletion.md"])
def test_a_page_shows_what_its_sessions_print(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text("utf-8")
    shown = list(actions(text))
    assert len(shown) >= 5
    with promised("the sessions of a page"), stage(ROOT, tmp_path) as made:
        made.prepare(text)
        for each in shown:
            if isinstance(each, Sql):
                made.query(each.text)
            else:
                anew = f"{each.line}\nrun: python tests/support/cluster_transcript.py {page}"
                assert printed(made, each) == comparable(each.output), anew


def printed(made: Stage, command: Command) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        output = comparable(made.execute(command.line))
        right = output == comparable(command.output)
        if right or not command.line.startswith(READS) or time.monotonic() > deadline:
            return output
        time.sleep(0.5)
