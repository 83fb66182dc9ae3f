"""The API of one namespace over HTTP: how fast, how much memory, and how far above its floor.

Usage: ``python -m benchmarks.http [--quick] [--directory FOLDER] [--output FILE]``. Starts a Postgres server with its
durable defaults and one API process a size, measures 0, 1k, 10k and 100k stored memories with 1 and 16 clients beside
the same SQL by asyncpg alone, prints the tables, writes JSON, and leaves no process and no file behind. About four
minutes; ``--quick`` stops at 1k, below one.
"""

import sys
from pathlib import Path

if not __package__:
    # Started as a file, Python looks for modules in this folder first, where `http` would be this very file.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import signal
import tempfile
import time

import asyncpg
import uvloop

from benchmarks import report
from benchmarks.operations import Pace, Result
from benchmarks.service import postgres, serve, settings
from benchmarks.stage import Stage
from benchmarks.text import Corpus
from memory_runtime.adapters.embedding.potion import PotionEmbedder

SIZES = (0, 1_000, 10_000, 100_000)
RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure and report; 130 when interrupted."""
    options = _options(arguments)
    # Ending is Ctrl-C by another name: unwind, stop the servers, remove the folder. A shell may have Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="memory-benchmark-", dir=options.directory) as folder:
            results, version = _measure(Path(folder), quick=options.quick)
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    seconds = time.monotonic() - started
    facts = report.machine(version)
    print(report.render(results, facts))
    output = options.output or RESULTS / ("http-quick.tmp.json" if options.quick else "http.json")
    report.write(output, results, facts, seconds=seconds)
    print(f"took {seconds:.0f} s", file=sys.stderr)
    return 0


def _measure(folder: Path, *, quick: bool) -> tuple[list[Result], str]:
    corpus, embedder = Corpus(), PotionEmbedder()
    pace = Pace(rounds=3, longest=0.5) if quick else Pace()
    results = []
    with postgres(folder) as server:
        for size in SIZES[:2] if quick else SIZES:
            sibling = settings(server, f"floor_{size}")
            with serve(settings(server, f"api_{size}"), folder) as service:
                stage = Stage(size, service, sibling, corpus=corpus, embedder=embedder, pace=pace)
                results.append(uvloop.run(stage.run()))
        version = uvloop.run(_version(server.admin_url()))
    return results, version


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("show server_version"))
    finally:
        await connection.close()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="sizes 0 and 1,000 with short rounds, below a minute")
    parser.add_argument("--directory", help="where the data goes: on the disk that is to be measured (default: TMPDIR)")
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/http.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
