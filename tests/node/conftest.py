"""What these tests need: root, a Docker engine (or Debian's docker.io to start one), and what a node is made of.

`make test` skips them with a reason where that is missing; on CI it is installed. Images are built from the checkout.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from controlplane import node as real_node
from controlplane.engine import own_host
from controlplane.images import build, engine, ensure_base, save
from controlplane.layout import NODE_ADDRESS
from controlplane.plane import ControlPlane
from installation import manifests
from installation.cluster import ROOT, SYSTEM, Cluster
from installation.manifests import NAME, TEAM
from installation.pod_postgres import postgres_for_pods
from kubernetes_fixtures import promised

from memory_operator.local.postgres_server import ADMIN, DATABASE, PostgresServer

TARGETS = ("operator", "runtime")
# Named, too, so that they are not among the leftovers: they hold the dependencies, which the next build finds there.
STAGES = ("wheel", "build-operator", "build-runtime")
NOTES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say something at the end of the run: which base image it was, how long something took."""
    return request.config.stash.setdefault(NOTES, []).append


@pytest.fixture(scope="session")
def docker(note: Callable[[str], None]) -> Iterator[str]:
    """A Docker engine that has built both images; the value is its DOCKER_HOST."""
    with promised("a test with the images"), engine() as host:
        base = ensure_base(host)
        note(f"the images stand on {'a stand-in of our own for ' if base.is_stand_in else ''}{base.tag}")
        for target in (*STAGES, *TARGETS):
            build(host, target, f"memory-{target}:latest", ROOT)
        if host == own_host():  # nobody else's leftovers are touched
            _docker(host, "image", "prune", "--force")
        yield host


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Kubernetes with a node that has both images."""
    # A short name, as a node's sockets need it.
    with ControlPlane(Path(tempfile.mkdtemp(prefix="node-"))) as plane:
        with promised("a test on a real node"):
            real_node.ensure_possible(plane.directory)
            docker = request.getfixturevalue("docker")  # minutes, for nothing where there can be no node
            plane.up(node=True)
        for target in TARGETS:
            archive = save(docker, f"memory-{target}:latest", plane.directory / f"{target}.tar")
            plane.load(archive)
            archive.unlink()
        yield Cluster(plane)


@pytest.fixture(scope="module")
def postgres(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres outside of the cluster, reached by pods."""
    with postgres_for_pods(tmp_path_factory.mktemp("postgres") / "server") as server:
        yield server


@pytest.fixture
def installed(cluster: Cluster) -> Cluster:
    """The cluster with the operator in it."""
    cluster.install()
    return cluster


@pytest.fixture
def memories(installed: Cluster, postgres: PostgresServer) -> Cluster:
    """The cluster with MemoryNamespace team-a/research, and the operator's two replicas, ready."""
    secret = postgres.password
    installed.apply(manifests.memory_cluster(NODE_ADDRESS, postgres.port, DATABASE, ADMIN, secret))
    installed.apply(manifests.MEMORY_NAMESPACE)
    installed.wait("condition=Ready", "memc/default", SYSTEM)
    installed.wait("condition=Ready", f"memns/{NAME}", TEAM)
    installed.rolled_out(f"deployment/{NAME}-api", TEAM)  # also what the test before has begun
    return installed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure tell what the cluster looks like."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and report.when != "teardown" and cluster:
        report.sections.append(("the cluster", cluster.tell()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the notes."""
    if notes := config.stash.get(NOTES, []):
        terminalreporter.section("on the node")
        for each in notes:
            terminalreporter.write_line(each)


def _docker(host: str, *arguments: str) -> None:
    subprocess.run(["docker", *arguments], env={**os.environ, "DOCKER_HOST": host}, check=True, capture_output=True)
