"""Get what the tests of Kubernetes and Kafka need, before any of them runs: ``python -m prepare [--node]``.

With ``--node`` also what those of images and of a real node need.

Each test would get its part by itself; this is for a machine where all of them run, so that a missing part is seen at
once and no test's time is spent on it. What is there already is left as it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from controlplane import binaries, engine, kubectl, node, packages
from controlplane.missing import Missing
from kafka.jars import MissingPart, kafka_jars


def main() -> None:
    """Get everything; a sentence and status 1 for the first part that cannot be had."""
    steps: dict[str, Callable[[], object]] = {
        "Kubernetes": lambda: binaries.locate((*binaries.ESSENTIAL, *binaries.CONTROLLERS)),
        "kubectl": kubectl.find,
        "Apache Kafka": kafka_jars,
    }
    if "--node" in sys.argv[1:]:
        steps |= {
            "packages of a node": node.ensure_node_packages,
            "a container engine": lambda: packages.ensure(
                "building images", {**engine.PACKAGES, "debootstrap": "debootstrap"}
            ),
            "Kubernetes' node": lambda: binaries.locate(binaries.NODE),
        }
    for name, step in steps.items():
        began = time.monotonic()
        try:
            step()
        except (Missing, MissingPart) as missing:
            sys.exit(str(missing))
        print(f"{name}: ready after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
