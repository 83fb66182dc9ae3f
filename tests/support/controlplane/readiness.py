"""When a component serves, and what to say when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
from controlplane import node as real_node
from controlplane.access import connect
from controlplane.creation import ADMIN
from controlplane.layout import Layout
from controlplane.processes import Processes

READY_SECONDS = 120.0
POLL_SECONDS = 0.05
TAIL_BYTES = 4000
DEFAULT_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"

Condition = Callable[[httpx.Client], Any]


class PlaneFailed(RuntimeError):
    """A component did not do what was asked; the message ends with the end of its log."""


def serving(layout: Layout, component: str) -> Condition | None:
    """Return how to find out whether a component serves; None when there is nothing to ask."""
    return {
        "etcd": lambda _: httpx.get(f"{layout.etcd}/health", trust_env=False, timeout=5).is_success,
        "kube-apiserver": lambda client: client.get("/readyz").is_success,
        "containerd": lambda _: real_node.containerd_answers(layout),
    }.get(component)


def wait_settled(layout: Layout, processes: Processes) -> None:
    """Wait for what the components do first: a namespace can take pods, and the node too."""
    if "kube-controller-manager" in layout.components:
        has_account: Condition = lambda client: client.get(DEFAULT_ACCOUNT).is_success  # noqa: E731
        wait(layout, processes, "kube-controller-manager", has_account)
    if layout.node:
        wait(layout, processes, "kubelet", real_node.is_ready)


def wait(layout: Layout, processes: Processes, component: str, condition: Condition) -> None:
    """Wait until `condition` holds.

    Raises:
        PlaneFailed: the component ended, or it takes too long.
    """
    deadline = time.monotonic() + READY_SECONDS
    with connect(layout.kubeconfig(ADMIN)) as client:
        while not _holds(condition, client):
            if processes.find(component) is None:
                raise PlaneFailed(f"{component} ended; {_end_of_log(layout, component)}")
            if time.monotonic() > deadline:
                raise PlaneFailed(f"{component} did not serve in {READY_SECONDS} s; {_end_of_log(layout, component)}")
            time.sleep(POLL_SECONDS)


def _holds(condition: Condition, client: httpx.Client) -> bool:
    try:
        return bool(condition(client))
    except (httpx.TransportError, OSError):
        return False


def _end_of_log(layout: Layout, component: str) -> str:
    path = layout.log(component)
    tail = path.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if path.exists() else "nothing"
    return f"its log ({path}) ends with:\n{tail}"
