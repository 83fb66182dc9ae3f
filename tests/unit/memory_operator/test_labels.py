"""The labels by which a person finds everything that belongs to the platform."""

from pathlib import Path

import pytest
import yaml
from tenants import workload

ROOT = Path(__file__).parents[3]
PART_OF = "app.kubernetes.io/part-of"
FILES = sorted([*ROOT.glob("crds/*.yaml"), *ROOT.glob("manifests/*.yaml")])


RECOMMENDED = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "managed-by")}


def installed_deployments():
    documents = [each for file in FILES for each in yaml.safe_load_all(file.read_text("utf-8")) if each]
    return [each for each in documents if each["kind"] == "Deployment"]


def test_every_deployment_and_its_pods_carry_the_labels_that_scripts_rely_on():
    installed = installed_deployments()
    assert installed

    for each in (*installed, workload().deployment):
        pods = each["spec"]["template"]["metadata"]["labels"]
        assert set(each["metadata"]["labels"]) >= RECOMMENDED
        assert set(pods) >= RECOMMENDED
        assert pods.items() >= each["spec"]["selector"]["matchLabels"].items()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_installed_is_part_of_the_same_as_what_the_operator_makes(file):
    """Regression: the definitions of the resources said something else."""
    documents = [each for each in yaml.safe_load_all(file.read_text("utf-8")) if each]

    installed = {(each["metadata"].get("labels") or {}).get(PART_OF) for each in documents}

    assert installed == {child["metadata"]["labels"][PART_OF] for child in workload().children}
