"""What is in the images, and what is not; run as a cluster would: no privileges, nothing to write to but /tmp."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from controlplane.images import BASE
from installation.cluster import ROOT

LOOK = """\
import getpass, importlib, importlib.util, json, os, pathlib, pkgutil, re, sys
from importlib import metadata
for package in map(importlib.import_module, sys.argv[1:]):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
packages = pathlib.Path("/opt/memory/lib/python3.11/site-packages")
absent = ["pip", "setuptools", "ensurepip", "uv", "pytest", "memory_operator", "memory_runtime"]
print(json.dumps({
    "user": [os.getuid(), getpass.getuser(), os.path.expanduser("~")],
    "present": [name for name in absent if importlib.util.find_spec(name)],
    "versions": [f"{re.sub('[-_.]+', '-', each.name).lower()}=={each.version}" for each in metadata.distributions()],
    "tests": [str(each) for each in packages.rglob("tests")],
    "source": os.path.exists("/src"),
}))
"""


@dataclass(frozen=True)
class Image:
    """What one image is to hold; `megabytes` is its size without the base image, which other images share."""

    role: str
    packages: tuple[str, ...]
    command: str
    megabytes: int

    @property
    def tag(self) -> str:
        return f"memory-{self.role}:latest"


@pytest.fixture(
    params=[
        Image("operator", ("memory_contracts", "memory_operator"), "memory-operator", 270),
        Image("runtime", ("memory_contracts", "memory_runtime"), "soma", 140),
    ],
    ids=lambda image: image.role,
)
def image(request: pytest.FixtureRequest) -> Image:
    image: Image = request.param
    return image


def test_it_holds_its_plane_with_the_locked_versions_and_nothing_else(docker: str, image: Image) -> None:
    seen = json.loads(run(docker, image, "python", "-c", LOOK, *image.packages))

    locked = set(re.findall(r"^[a-z0-9.-]+==[^ ;\\]+", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    assert {each for each in seen["versions"] if not each.startswith("memory-operator==")} <= locked
    assert len(seen["versions"]) > 20
    assert seen["present"] == [image.packages[1]]
    assert seen["tests"] == []
    assert not seen["source"]


@pytest.mark.parametrize("user", [65532, 123456])
def test_it_runs_as_any_number_without_privileges(docker: str, image: Image, user: int) -> None:
    told = run(docker, image, image.command, "--version", options=[f"--user={user}"])

    assert "version" in told
    assert inspect(docker, image.tag)["Config"]["User"] == "65532:65532"
    seen = json.loads(run(docker, image, "python", "-c", LOOK, options=[f"--user={user}"]))
    assert seen["user"] == [user, "memory", "/tmp"]


def test_it_is_small(docker: str, image: Image, note: Callable[[str], None]) -> None:
    added = (inspect(docker, image.tag)["Size"] - inspect(docker, BASE)["Size"]) / 1e6
    note(f"{image.tag}: {added:.0f} MB and the base image")
    assert added < image.megabytes


def run(host: str, image: Image, *command: str, options: list[str] | None = None) -> str:
    confined = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    return _docker(
        host, "run", "--rm", *confined, *(options or []), f"--entrypoint={command[0]}", image.tag, *command[1:]
    )


def inspect(host: str, tag: str) -> dict[str, Any]:
    (found,) = json.loads(_docker(host, "image", "inspect", tag))
    return dict(found)


def _docker(host: str, *arguments: str) -> str:
    variables = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    done = subprocess.run(
        ["docker", *arguments], env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
