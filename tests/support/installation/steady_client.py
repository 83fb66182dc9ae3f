"""Clients that store and recall one memory after the other; each line of output says how it went so far.

It runs in a pod, from a ConfigMap, with nothing but the runtime's image: ``python steady_client.py DIRECTORY``, where
DIRECTORY is that of a servicebinding.io binding. A request that fails is noted and sent again until it succeeds.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

CLIENTS = 4
SECONDS = 300.0
PAUSE_SECONDS = 0.01
PATIENCE_SECONDS = 60.0


class SteadyClients:
    """Counts what was acknowledged, and notes every failure."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._numbers = itertools.count(1)
        self._run = int(time.time())
        self._acknowledged: list[int] = []
        self._failures: list[str] = []

    def progress(self) -> dict[str, Any]:
        """Return how it went so far."""
        return {"run": self._run, "acknowledged": len(self._acknowledged), "failures": list(self._failures)}

    def work(self) -> None:
        """Store and recall until the process ends."""
        with self._connect() as kept:
            for number in self._numbers:
                # A new connection meets a pod that no longer listens; one that is kept meets a pod that closes it.
                if number % 4:
                    with self._connect() as new:
                        self._round(new, number)
                else:
                    self._round(kept, number)
                time.sleep(PAUSE_SECONDS)

    def _round(self, client: httpx.Client, number: int) -> None:
        text = f"parcel {number} of {self._run} lies in shelf {number * 7}"
        memory = {"coord": [self._run, number], "payload": {"text": text}}
        stored = self._insist(client, "/store", memory, {"Idempotency-Key": f"{self._run}-{number}"})
        self._acknowledged.append(number)
        found = self._insist(client, "/recall", {"query": text, "token": stored["token"]}, {})
        if stored["id"] not in [each["id"] for each in found["matches"]]:
            self._failures.append(f"memory {number} was stored and not recalled")

    def _insist(self, client: httpx.Client, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            began = time.monotonic()
            try:
                return client.post(path, json=body, headers=headers).raise_for_status().json()
            except httpx.HTTPError as error:
                self._failures.append(f"{path} after {time.monotonic() - began:.2f} s: {error!r}")
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _connect(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=self._headers, timeout=10, trust_env=False)


def main(binding: Path) -> None:
    """Go on for a while; whoever started this reads along and ends it earlier."""
    clients = SteadyClients((binding / "uri").read_text(), (binding / "token").read_text())
    for _ in range(CLIENTS):
        threading.Thread(target=clients.work, daemon=True).start()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.2)
        print(json.dumps(clients.progress()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
