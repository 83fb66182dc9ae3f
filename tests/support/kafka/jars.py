"""What a broker runs on: Java, and the jars of Apache Kafka from the cache, copied there by Maven when absent."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
PACKAGES = "apt-get install --no-install-recommends maven openjdk-17-jre-headless openssl"
FETCH_SECONDS = 600.0


class MissingPart(Exception):
    """This machine lacks something that a broker needs; the text says what, and how to get it."""


def find_java() -> str:
    """Return the path of ``java`` (17 or newer), that of JAVA_HOME first."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        raise MissingPart(f"a Kafka broker needs Java 17 or newer, and there is none: {PACKAGES}")
    return java


def kafka_jars() -> Path:
    """Return the folder with the jars that pom.xml pins; Maven fills it once a machine."""
    cache = _cache()
    jars = cache / f"jars-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if not jars.is_dir():
        with _alone(cache):
            if not jars.is_dir():
                _fetch(jars)
    return jars


def _cache() -> Path:
    root = Path(os.environ.get("SOMA_CACHE") or Path.home() / ".cache/soma-test")
    version = re.search(r"<kafka\.version>(.+?)<", POM.read_text(encoding="utf-8"))
    assert version
    return root.absolute() / "kafka" / version[1]


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Keep other test runs of this machine out."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jars: Path) -> None:
    """Copy into a folder beside `jars` first: the rename makes all of them appear at once, or none."""
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingPart(f"the jars of Kafka are not in {jars} and there is no mvn to copy them: {PACKAGES}")
    half_done = jars.with_name("incomplete")
    shutil.rmtree(half_done, ignore_errors=True)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={half_done}"]
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", str(POM), *goal]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
    )
    if done.returncode or not any(half_done.glob("kafka_*.jar")):
        reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), f"exit status {done.returncode}")
        raise MissingPart(f"mvn could not copy the jars of Kafka to {jars}: {reason}")
    half_done.rename(jars)
