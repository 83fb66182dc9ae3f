"""The commands of local mode where their dependencies are not installed, as in the runtime's image."""

import subprocess
import sys
from pathlib import Path

import pytest

# As a process, for here everything is imported already.
WITHOUT = "import sys; sys.modules[{missing!r}] = None; from memory_runtime.cli import main; main()"
COMMANDS = (["up", "-f", "namespace.yaml"], ["apply", "-f", "namespace.yaml"], ["status"], ["down"])


def soma(folder: Path, *arguments: str, missing: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(missing=missing)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_dependency_that_is_missing_is_said_in_one_sentence_with_the_remedy(tmp_path, arguments):
    """Regression: it was a traceback."""
    ended = soma(tmp_path, *arguments, missing="yaml")

    remedy = "pip install 'memory-operator[local]'"
    assert ended.stderr == f"Error: this needs yaml, which is not installed here; {remedy}\n"
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [["--help"], ["recall", "--help"], ["up", "--help"]], ids=" ".join)
def test_who_does_not_need_it_does_not_hear_of_it(tmp_path, arguments):
    ended = soma(tmp_path, *arguments, missing="yaml")

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_module_of_our_own_that_is_missing_is_a_defect_and_stays_visible(tmp_path):
    ended = soma(tmp_path, "status", missing="memory_operator.local.report")

    assert "Traceback" in ended.stderr
