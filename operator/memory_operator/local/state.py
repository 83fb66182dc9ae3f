"""The state directory ``.soma/``: what should run, what runs, and the lock of the one supervisor that runs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from memory_contracts.errors import Conflict, Rejected
from memory_contracts.local import ENDPOINT_FILE, STATE_DIRECTORY
from memory_contracts.settings import API_PORT
from memory_contracts.v1alpha1 import MemoryNamespace, MemoryNamespaceStatus
from memory_operator.local.files import PARTIAL, write_atomically, write_once, write_private
from memory_operator.local.processes import ProcessRecord, observe_process
from memory_operator.local.resources import parse_namespace

# `status` takes the lock for an instant to see whether it is free; a starting supervisor waits that out.
LOCK_SECONDS = 2.0
LOCK_POLL_SECONDS = 0.05


class _Stored(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class LocalOptions(_Stored):
    """What `soma up` was told beside the file; remembered, so that a later `up` serves the same data."""

    port: int = API_PORT
    postgres_url: str | None = None


class ProcessStatus(_Stored):
    """One process that the supervisor runs; `started` tells it from a later process with the same pid."""

    name: str
    pid: int
    started: str
    ready: bool
    endpoint: str | None = None

    @property
    def record(self) -> ProcessRecord:
        """The process, named for certain."""
        return ProcessRecord(self.name, self.pid, self.started)


class LocalStatus(_Stored):
    """What the supervisor with this pid last knew."""

    supervisor: int = 0
    namespace: MemoryNamespaceStatus = MemoryNamespaceStatus()
    processes: list[ProcessStatus] = []


class StateDirectory:
    """Reads and writes the files of one state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.postgres = self.path / "postgres"
        self.secrets = self.path / "secrets"
        self.desired_file = self.path / "desired.yaml"
        self._status_file = self.path / "status.json"
        self._options_file = self.path / "options.json"
        self._identity_file = self.path / "identity"
        self._lock_file = self.path / "supervisor.lock"
        self._ignore_file = self.path / ".gitignore"

    def prepare(self) -> None:
        """Make the directory; it keeps itself out of version control, for it holds secrets."""
        self.logs.mkdir(parents=True, exist_ok=True)
        if not self._ignore_file.exists():
            write_atomically(self._ignore_file, "*\n")

    def uid(self) -> str:
        """Return what tells this object from one of the same name on another machine; made when first asked for."""
        if not self._identity_file.is_file():
            write_once(self._identity_file, f"{uuid.uuid4()}\n")
        return self._identity_file.read_text(encoding="ascii").strip()

    def token_file(self, name: str) -> Path:
        """Return the file that holds the API token of the namespace called `name`."""
        return self.secrets / name / "token"

    def log(self, name: str) -> Path:
        """Return the log of the process called `name`."""
        return self.logs / f"{name}.log"

    def accept(self, namespace: MemoryNamespace) -> MemoryNamespace:
        """Store what should run from now on, with a new generation when its spec differs from the one before.

        Raises `Rejected` when the directory holds another object's memories, or for a change that is never possible.
        """
        before = self.desired()
        if before:
            _check_change(before, namespace, self.path)
        changed = before is None or before.spec != namespace.spec
        generation = (before.metadata.generation if before else 0) + changed
        metadata = namespace.metadata.model_copy(update={"generation": generation, "uid": self.uid()})
        accepted = namespace.model_copy(update={"metadata": metadata, "status": None})
        if changed:
            body = accepted.model_dump(mode="json", by_alias=True, exclude_none=True)
            write_atomically(self.desired_file, yaml.safe_dump(body, sort_keys=False))
        return accepted

    def desired(self) -> MemoryNamespace | None:
        """Return what should run, or None when nothing was ever accepted."""
        if not self.desired_file.is_file():
            return None
        found = parse_namespace(self.desired_file.read_text(encoding="utf-8"), str(self.desired_file))
        return found.model_copy(update={"metadata": found.metadata.model_copy(update={"uid": self.uid()})})

    def write_status(self, status: LocalStatus) -> None:
        """Publish what is known now."""
        write_atomically(self._status_file, status.model_dump_json(by_alias=True, indent=2) + "\n", sync=False)

    def read_status(self) -> LocalStatus:
        """Return what was last published; empty when nothing readable was."""
        try:
            return LocalStatus.model_validate_json(self._status_file.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return LocalStatus()

    def write_options(self, options: LocalOptions) -> None:
        """Remember the options; private, for a database address holds a password."""
        write_private(self._options_file, options.model_dump_json(by_alias=True))

    def read_options(self) -> LocalOptions:
        """Return the remembered options, or the defaults."""
        try:
            return LocalOptions.model_validate_json(self._options_file.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return LocalOptions()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one supervisor, or raise `Conflict`; the kernel frees the lock when the process ends."""
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(descriptor, self.path)
            record = observe_process("supervisor", os.getpid())
            assert record is not None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{record.pid} {record.started}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def supervisor(self) -> ProcessRecord | None:
        """Return the running supervisor: the one that holds the lock, whatever files may say."""
        held, owner = self._lock_state()
        pid, _, started = owner.partition(" ")
        return ProcessRecord("supervisor", int(pid), started) if held and pid.isdigit() else None

    @property
    def served(self) -> bool:
        """Whether a supervisor holds the lock, even one that has not written its name yet."""
        return self._lock_state()[0]

    def _lock_state(self) -> tuple[bool, str]:
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return False, ""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True, os.pread(descriptor, 200, 0).decode().strip()
        finally:
            os.close(descriptor)
        return False, ""

    def forget_endpoint(self) -> None:
        """Withdraw the endpoint: nothing answers there any more, and the port may become somebody else's."""
        (self.path / ENDPOINT_FILE).unlink(missing_ok=True)

    def purge(self) -> None:
        """Delete what this class and the supervisor made, then the directory if nothing else is in it."""
        for folder in (self.logs, self.postgres, self.secrets):
            shutil.rmtree(folder, ignore_errors=True)
        ours = (
            self.desired_file,
            self._status_file,
            self._options_file,
            self._identity_file,
            self._lock_file,
            self._ignore_file,
        )
        for file in (*ours, self.path / ENDPOINT_FILE, *self.path.glob(f"*{PARTIAL}")):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def find_state(start: Path) -> Path:
    """Return the nearest ``.soma`` that `soma up` made, in `start` or a folder above it; else the one of `start`."""
    for folder in (start, *start.parents):
        if (folder / STATE_DIRECTORY / "options.json").is_file():
            return folder / STATE_DIRECTORY
    return start / STATE_DIRECTORY


def _check_change(before: MemoryNamespace, after: MemoryNamespace, path: Path) -> None:
    old, new = before.metadata, after.metadata
    if (old.namespace, old.name) != (new.namespace, new.name):
        raise Rejected(
            f"{path} holds the memories of {old.namespace}/{old.name}, the file is about {new.namespace}/{new.name}; "
            "give another --state-dir, or delete the old memories with soma down --purge"
        )
    for sentence in after.spec.refused_changes(before.spec):
        raise Rejected(f"spec.{sentence}; to begin anew: soma down --purge, or another --state-dir")


def _take(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict(f"another supervisor already serves {path}") from None
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return
