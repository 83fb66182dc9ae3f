"""The labels by which a person finds everything that belongs to the platform."""

from pathlib import Path

import pytest
import yaml
from tenants import workload

ROOT = Path(__file__).parents[3]
PART_OF = "app.kubernetes.io/part-of"
FILES = sorted([*ROOT.glob("crds/*.yaml"), *ROOT.glob("manifests/*.yaml")])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_installed_is_part_of_the_same_as_what_the_operator_makes(file):
    """Regression: the definitions of the resources said something else."""
    documents = [each for each in yaml.safe_load_all(file.read_text("utf-8")) if each]

    installed = {(each["metadata"].get("labels") or {}).get(PART_OF) for each in documents}

    assert installed == {child["metadata"]["labels"][PART_OF] for child in workload().children}
