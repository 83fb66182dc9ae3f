"""What the figures are held against: the targets, and what the earlier implementation did."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.load import Figures
from benchmarks.operations import Kind

# The earlier implementation in its Postgres mode, measured once on a machine with 2 cores; not run here.
BASELINE_SOURCE = "the earlier implementation (Postgres mode) on another 2-core machine"
# (operation, memories a call, size) → p50 in milliseconds, one client.
BASELINE_P50 = {
    (Kind.STORE, 1, 0): 56.0,
    (Kind.STORE, 1, 1_000): 139.0,
    (Kind.STORE, 1, 10_000): 2_600.0,
    (Kind.BULK, 50, 0): 547.0,
    (Kind.BULK, 50, 1_000): 8_500.0,
    (Kind.RECALL, 1, 1_000): 54.0,
    (Kind.RECALL, 1, 10_000): 501.0,
}
# Stores a second with 8 clients, beginning empty.
BASELINE_STORES = 14.5
BASELINE_MEMORY = {10_000: 582.0}  # MiB
MEMORY_TARGET = {100_000: 400.0}  # MiB


@dataclass(frozen=True, slots=True)
class Target:
    """Bounds; None does not bind."""

    p50: float | None = None
    p95: float | None = None
    rate: float | None = None

    def __str__(self) -> str:
        latencies = " / ".join(f"{bound:g}" for bound in (self.p50, self.p95) if bound is not None)
        return f"≤ {latencies} ms" if latencies else f"≥ {self.rate:,.0f}/s"

    def met_by(self, figures: Figures) -> bool:
        """Return whether every bound holds."""
        return (
            (self.p50 is None or figures.p50 <= self.p50)
            and (self.p95 is None or figures.p95 <= self.p95)
            and (self.rate is None or figures.rate >= self.rate)
        )


def target(kind: Kind, each: int, clients: int, size: int) -> Target | None:
    """Return the target of an operation on `each` memories a call, with `size` memories stored."""
    match kind, each, clients:
        case Kind.STORE, _, 1:
            return Target(p50=4, p95=10)
        case Kind.STORE, _, _:
            return Target(rate=800)
        case Kind.BULK, 50, _:
            return Target(p50=15)
        case Kind.BULK, _, _:
            return Target(rate=10_000)
        case Kind.RECALL, _, 1:
            return Target(p50=5, p95=10) if size <= 10_000 else Target(p50=10, p95=20)
        case _:
            return None
