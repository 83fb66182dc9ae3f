"""Fixtures of a real Kubernetes: one control plane a session, one namespace a test, planes of one's own on request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from controlplane.access import answer
from controlplane.binaries import CONTROLLERS
from controlplane.fake_kubelet import FakeKubelet
from controlplane.missing import Missing, on_ci
from controlplane.plane import ControlPlane

NewControlPlane = Callable[..., ControlPlane]


@contextlib.contextmanager
def promised(what: str) -> Iterator[None]:
    """Skip the test, with the reason, when the machine lacks a part; on CI that is a failure."""
    try:
        yield
    except Missing as missing:
        sentence = f"{what} did not run: {missing}"
        # `from None`, so that the report is this one line.
        if on_ci():
            raise pytest.fail.Exception(sentence, pytrace=False) from None
        raise pytest.skip.Exception(sentence) from None


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, API server, controllers and scheduler, with audit, shared by the session; leave them running."""
    with ControlPlane(tmp_path_factory.mktemp("kubernetes") / "plane") as plane:
        with promised("a test on a real Kubernetes API"):
            plane.up(audit=True)
        yield plane


@pytest.fixture
def new_control_plane(tmp_path: Path) -> Iterator[NewControlPlane]:
    """Bring up a plane of the test's own, with the choices of `up`: ``new_control_plane(bare=True)``."""
    with contextlib.ExitStack() as planes:

        def make(**choices: Any) -> ControlPlane:
            plane = planes.enter_context(ControlPlane(tmp_path / f"plane-{uuid4().hex[:6]}"))
            with promised("a test on a real Kubernetes API"):
                plane.up(**choices)
            return plane

        yield make


@pytest.fixture
def k8s_namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace of the session's plane; its deletion is begun afterwards and not waited for."""
    name = f"test-{uuid4().hex[:10]}"
    with control_plane.client() as client:
        answer(client.post("/api/v1/namespaces", json={"metadata": {"name": name}}))
        yield name
        answer(client.delete(f"/api/v1/namespaces/{name}"))


@pytest.fixture(scope="session")
def fake_node(control_plane: ControlPlane) -> Iterator[FakeKubelet]:
    with promised("a test with Deployments"):
        control_plane.require(*CONTROLLERS)
    with FakeKubelet(control_plane) as kubelet:
        yield kubelet


@pytest.fixture
def fake_kubelet(fake_node: FakeKubelet) -> Iterator[FakeKubelet]:
    """A pretended node of the session's plane: pods become Ready, or what `behave` says; see `FakeKubelet`."""
    yield fake_node
    fake_node.reset()
