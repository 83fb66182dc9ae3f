"""What the availability of a workload is told by: a few numbers of a Deployment, and of an EndpointSlice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memory_operator.kube.kinds import DEPLOYMENT, ENDPOINT_SLICE, Kind

SERVICE_NAME = "kubernetes.io/service-name"
_NONE: Mapping[str, Any] = {}
_COUNTS = ("replicas", "readyReplicas", "updatedReplicas", "observedGeneration")


def facts_of(kind: Kind, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is kept of a child's content; nothing of the other kinds."""
    if kind is DEPLOYMENT:
        return _deployment_facts(body, body.get("status", _NONE))
    if kind is ENDPOINT_SLICE:
        return _slice_facts(body)
    return _NONE


def _deployment_facts(body: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
    problems = {
        each["type"]: each.get("message", "")
        for each in status.get("conditions", ())
        if (each["type"], each["status"]) == ("ReplicaFailure", "True")
        or each.get("reason") == "ProgressDeadlineExceeded"
    }
    return {name: status.get(name, 0) for name in _COUNTS} | {
        "generation": body["metadata"].get("generation", 0),
        "wanted": body["spec"].get("replicas", 1),
        "problems": problems,
    }


def _slice_facts(body: Mapping[str, Any]) -> Mapping[str, Any]:
    service = body["metadata"].get("labels", _NONE).get(SERVICE_NAME, "")
    found = [each.get("conditions", _NONE) for each in body.get("endpoints") or ()]
    # Ready unless it says that it is not (discovery/v1, EndpointConditions).
    ready = [each.get("ready") is not False for each in found]
    return {"service": service, "ready": sum(ready), "leaving": sum(each.get("terminating") is True for each in found)}
