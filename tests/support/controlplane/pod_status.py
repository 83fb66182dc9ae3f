"""The status that a kubelet would report of a pod: pure."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Pod = dict[str, Any]


class Behaviour(StrEnum):
    """How a pod fares on a fake node."""

    READY = "Ready"
    UNREADY = "Unready"  # it runs, and its readiness probe fails
    CRASH_LOOPING = "CrashLooping"
    IMAGE_MISSING = "ImageMissing"


WAITING = {
    Behaviour.CRASH_LOOPING: ("CrashLoopBackOff", "back-off 10s restarting failed container"),
    Behaviour.IMAGE_MISSING: ("ImagePullBackOff", "Back-off pulling image"),
}
RESTARTS = 3


def report(pod: Pod, behaviour: Behaviour, address: str, host: str, now: datetime | None = None) -> dict[str, Any]:
    """Return the new status; a pod that shall not run for ever (a Job's) has succeeded when it is Ready."""
    time = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = behaviour is Behaviour.READY and pod["spec"].get("restartPolicy", "Always") != "Always"
    ready = behaviour is Behaviour.READY and not done
    pending = behaviour is Behaviour.IMAGE_MISSING
    kept = [each for each in pod["status"].get("conditions", []) if each["type"] == "PodScheduled"]
    return {
        "phase": "Succeeded" if done else "Pending" if pending else "Running",
        "startTime": pod["status"].get("startTime", time),
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "conditions": [*kept, *_conditions(ready=ready, done=done, time=time)],
        "containerStatuses": [_container(each, behaviour, done=done, time=time) for each in pod["spec"]["containers"]],
    }


def _conditions(*, ready: bool, done: bool, time: str) -> list[dict[str, str]]:
    values = {"PodReadyToStartContainers": not done, "Initialized": True, "ContainersReady": ready, "Ready": ready}
    reason = {"reason": "PodCompleted"} if done else {} if ready else {"reason": "ContainersNotReady"}
    return [
        {"type": name, "status": str(value), "lastTransitionTime": time, **({} if value else reason)}
        for name, value in values.items()
    ]


def _container(container: dict[str, Any], behaviour: Behaviour, *, done: bool, time: str) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {"startedAt": time}}
    if done:
        state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": time, "finishedAt": time}}
    elif behaviour in WAITING:
        reason, message = WAITING[behaviour]
        state = {"waiting": {"reason": reason, "message": message}}
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "started": "running" in state,
        "ready": behaviour is Behaviour.READY and not done,
        "restartCount": RESTARTS if behaviour is Behaviour.CRASH_LOOPING else 0,
        "state": state,
    }
