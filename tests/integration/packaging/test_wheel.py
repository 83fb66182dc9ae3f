"""What `pip install` gets: an editable install would hide a missing package or data file."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = {"memory_contracts", "memory_operator", "memory_runtime"}
# Of each extra: the packages that run in it, the command they have, and what only the other role may need.
ROLES = {
    "operator": (["memory_contracts", "memory_operator"], "memory-operator", "fastapi"),
    "runtime": (["memory_contracts", "memory_runtime"], "soma", "kopf"),
}
IMPORT_ALL = """\
import importlib, pkgutil, sys
for package in map(importlib.import_module, sys.argv[1:]):
    assert package.__file__.startswith(sys.prefix), package.__file__
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
"""


@dataclass(frozen=True)
class Role:
    """One role's environment."""

    bin: Path
    packages: list[str]
    command: str
    foreign: str


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_it_holds_the_packages_and_nothing_beside_them(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_it_holds_every_file_that_the_packages_hold(wheel: zipfile.ZipFile) -> None:
    packed = set(wheel.namelist())
    for package, place in (
        ("memory_contracts", "runtime"),
        ("memory_runtime", "runtime"),
        ("memory_operator", "operator"),
    ):
        for file in (ROOT / place / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert file.relative_to(ROOT / place).as_posix() in packed


def test_it_runs_from_the_wheel_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """The installed dependencies serve, the checkout does not: only the unpacked wheel is on the path."""
    wheel.extractall(tmp_path)
    code = (
        "import memory_contracts, memory_operator.reconcile, memory_runtime.composition as composition\n"
        "from memory_contracts.database.migrations import all_migrations\n"
        "from memory_contracts.settings import RuntimeSettings\n"
        "assert composition.choose_embedder(RuntimeSettings()).embed(['a bee']).any() and all_migrations()\n"
        f"assert memory_contracts.__file__.startswith({str(tmp_path)!r})\n"
    )
    # -P and the path order keep the working directory and the editable install behind the wheel.
    subprocess.run([sys.executable, "-P", "-c", code], cwd="/", env={"PYTHONPATH": str(tmp_path)}, check=True)


def test_the_source_distribution_holds_what_its_own_commands_need(tmp_path: Path) -> None:
    """`make` builds the environment from the lock, `docker build` the images from what .dockerignore lets through."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}

    assert {"Makefile", "pyproject.toml", "requirements.lock", "Dockerfile", ".dockerignore"} <= packed
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [
        each for each in let_through if not any(name == each or name.startswith(f"{each}/") for name in packed)
    ] == []


@pytest.fixture(scope="module", params=ROLES)
def role(request: pytest.FixtureRequest, wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Role:
    """An environment as a role's image has it: the wheel, and what its extra asks for in the versions of the lock."""
    packages, command, foreign = ROLES[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"]
    dependencies = ["--constraints", "requirements.lock", "--requirements", "pyproject.toml", "--extra", request.param]
    for what in (dependencies, ["--no-deps", str(wheel.filename)]):
        subprocess.run([*install, *what], cwd=ROOT, env={**os.environ, "VIRTUAL_ENV": str(folder)}, check=True)
    return Role(folder / "bin", packages, command, foreign)


def test_each_role_imports_with_its_own_extra_only(role: Role) -> None:
    subprocess.run([role.bin / "python", "-P", "-c", IMPORT_ALL, *role.packages], cwd="/", env={}, check=True)
    elsewhere = subprocess.run([role.bin / "python", "-c", f"import {role.foreign}"], capture_output=True, check=False)
    assert b"ModuleNotFoundError" in elsewhere.stderr, "the environment holds the other role's dependencies, too"


def test_each_role_has_its_command(role: Role) -> None:
    told = subprocess.run([role.bin / role.command, "--help"], cwd="/", env={}, capture_output=True, check=True)
    assert b"Usage:" in told.stdout
    assert told.stderr == b""


@pytest.mark.parametrize("role", ["runtime"], indirect=True)
def test_the_runtime_alone_says_what_local_mode_needs(role: Role, tmp_path: Path) -> None:
    ended = subprocess.run(
        [role.bin / "soma", "up", "-f", "namespace.yaml"], cwd=tmp_path, env={}, capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"Error: this needs yaml, which is not installed here; pip install")
    assert ended.stderr.count(b"\n") == 1


def test_no_folder_called_operator_is_a_package() -> None:
    """It would hide Python's own module of that name from everything that is run there."""
    assert not [file for file in ROOT.rglob("operator/__init__.py") if ".venv" not in file.parts]
    assert not list((ROOT / "tests").rglob("__init__.py"))
