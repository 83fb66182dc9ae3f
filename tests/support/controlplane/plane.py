"""A real Kubernetes control plane on this machine: etcd, the API server and, unless bare, controllers and scheduler.

with ControlPlane(directory) as plane:
    plane.up(audit=True)
    plane.kubeconfig, plane.user("alice", ["developers"]), plane.audit_events(user="alice")
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from controlplane import audit as audit_log
from controlplane import binaries, components
from controlplane import node as real_node
from controlplane.access import answer, connect, write_kubeconfig
from controlplane.audit import AuditEvent
from controlplane.creation import ADMIN, create, identify
from controlplane.guard import start_guard
from controlplane.layout import Layout, record_of
from controlplane.missing import Missing
from controlplane.processes import AT_ONCE, GENTLY, Processes, Signals
from controlplane.readiness import serving, wait, wait_settled

START_ATTEMPTS = 3
PORT_TAKEN = "address already in use"


class ControlPlane:
    """Everything of one plane lives in `directory`; any number of planes run side by side, but one with a node.

    As a context manager it is removed at the end, its directory included, also when this process is killed meanwhile.
    Without, it lives on until someone calls `down` or `purge` for the same directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._processes = Processes(self.directory)
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the guard, which purges the plane should this process die."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._guard = start_guard("plane", self.directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the plane, whatever state it is in."""
        try:
            self.purge()
        finally:
            if self._guard is not None:
                self._guard.kill()
                self._guard.wait()

    # What it is.

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the administrator (user `admin`, group system:masters)."""
        return self.directory / f"{ADMIN}.kubeconfig"

    @property
    def layout(self) -> Layout:
        """Its ports, files and choices."""
        return Layout.load(self.directory)

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self.layout.server

    def status(self) -> dict[str, int | None]:
        """Return the pid of each component; None when it does not run."""
        found = {name: self._processes.find(name) for name in self.layout.components}
        return {name: None if record is None else record.pid for name, record in found.items()}

    def require(self, *names: str) -> None:
        """Ask for components that a plane from KUBEBUILDER_ASSETS may lack.

        Raises:
            Missing: this plane has no such component.
        """
        if absent := set(names) - set(self.layout.components):
            raise Missing(f"this plane has no {', '.join(sorted(absent))}: unset KUBEBUILDER_ASSETS to get all parts")

    # Its life.

    def up(
        self,
        *,
        node: bool = False,
        audit: bool = False,
        bare: bool = False,
        api_server_flags: Sequence[str] = (),
    ) -> None:
        """Start it and wait until the API answers; a plane that was `down` continues on its data, as it was made.

        `bare` leaves out controllers and scheduler; `node` adds a kubelet that runs pods (root, one per machine);
        `audit` records every request of everyone but the components (`audit_events`).

        Raises:
            Missing: a program is not here and cannot be made here.
            PlaneFailed: a component did not start.
        """
        for attempts_left in reversed(range(START_ATTEMPTS)):
            new = not self.kubeconfig.exists()
            if new:
                create(self.directory, node=node, with_audit=audit, bare=bare, api_server_flags=api_server_flags)
            try:
                self._start_all()
            except BaseException as error:
                self._stop_all(AT_ONCE)
                if not (new and attempts_left and PORT_TAKEN in str(error)):
                    raise
                self.kubeconfig.unlink()  # choose other ports
            else:
                return

    def down(self) -> None:
        """Stop everything and remove what a node put into the machine; the data stays."""
        self._stop_all(GENTLY)

    def purge(self) -> None:
        """Stop everything at once and remove the directory."""
        if record_of(self.directory).exists():
            self._stop_all(AT_ONCE)
            shutil.rmtree(self.directory)
        elif self.directory.exists() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    # Trouble, on purpose.

    def kill(self, component: str) -> None:
        """SIGKILL a component; when it returns the process is gone."""
        self._processes.stop(component, AT_ONCE)

    def start(self, component: str, *, until_serving: bool = True) -> None:
        """Start a component again on the same data, and wait until it serves unless told otherwise."""
        layout = self.layout
        if self._processes.find(component) is None:
            self._processes.start(component, self._command(layout, component), layout.log(component))
        condition = serving(layout, component)
        if until_serving and condition is not None:
            wait(layout, self._processes, component, condition)

    def pause(self, component: str) -> None:
        """Freeze a component (SIGSTOP): its connections stay open and nobody answers."""
        self._processes.send(component, signal.SIGSTOP)

    def resume(self, component: str) -> None:
        """Let a frozen component go on."""
        self._processes.send(component, signal.SIGCONT)

    def slowed(self, component: str, *, frozen: float = 0.2, running: float = 0.05) -> AbstractContextManager[None]:
        """Make a component slow for a while: it is frozen and let go in turns of so many seconds."""
        return self._processes.slowed(component, frozen, running)

    def compact(self) -> None:
        """Drop etcd's history: lists and watches that continue from before get 410 Gone, where no cache helps them.

        The API server's watch cache keeps events of its own; kill and start the API server to empty it as well.
        """
        with httpx.Client(base_url=self.layout.etcd, trust_env=False, timeout=30) as etcd:
            revision = answer(etcd.post("/v3/maintenance/status", json={}))["header"]["revision"]
            answer(etcd.post("/v3/kv/compaction", json={"revision": revision, "physical": True}))

    # Users and requests.

    def user(self, name: str, groups: Iterable[str] = ()) -> Path:
        """Return the kubeconfig of a user, made on the spot; what it may do, RBAC says."""
        return identify(self.layout, f"user-{name.replace('/', '_')}", name, groups)

    def service_account(self, namespace: str, name: str, seconds: int = 12 * 3600) -> Path:
        """Return the kubeconfig of a service account that exists; its token comes from the TokenRequest API."""
        where = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        with self.client() as client:
            token = answer(client.post(where, json={"spec": {"expirationSeconds": seconds}}))["status"]["token"]
        layout = self.layout
        path = layout.kubeconfig(f"account-{namespace}-{name}")
        return write_kubeconfig(path, layout.server, layout.certificates / "ca.crt", {"token": token})

    def client(self, kubeconfig: Path | None = None) -> httpx.Client:
        """Return an HTTP client of the API server, as the administrator or the user of `kubeconfig`; close it."""
        return connect(kubeconfig or self.kubeconfig)

    def audit_position(self) -> int:
        """Return a mark: `audit_events(since=mark)` are the requests answered after it."""
        log = self._audit_log()
        return log.stat().st_size if log.exists() else 0

    def audit_events(
        self, *, user: str | None = None, verbs: Collection[str] = audit_log.WRITES, since: int = 0
    ) -> list[AuditEvent]:
        """Return the recorded requests of `user` (None: of anyone) with one of `verbs`, oldest first.

        The default is writes; `audit.READS` and `audit.EVERYTHING` are the other sets. A watch is recorded twice, when
        it begins and when it ends.
        """
        log = self._audit_log()
        if not log.exists():
            return []
        with log.open("rb") as file:
            file.seek(since)
            whole, _, _ = file.read().rpartition(b"\n")
        return audit_log.select(whole.decode().splitlines(), user, verbs)

    def _audit_log(self) -> Path:
        layout = self.layout
        if not layout.audit:  # "nobody wrote anything" would be true of every such plane
            raise ValueError("this plane records no requests; bring it up with audit=True")
        return layout.audit_log

    def load(self, archive: Path) -> None:
        """Put an image (``docker save``) into the node; pods use it with ``imagePullPolicy: IfNotPresent``."""
        real_node.load_image(self.layout, archive)

    # Processes.

    def _command(self, layout: Layout, component: str) -> list[str]:
        if component not in layout.components:
            raise ValueError(f"this plane has no {component}; it has {', '.join(layout.components)}")
        if component in real_node.COMPONENTS:
            return real_node.command(layout, component)
        return [str(binaries.locate([component])[component]), *components.arguments(layout, component)]

    def _start_all(self) -> None:
        layout = self.layout
        if layout.node:
            real_node.prepare(layout)
        for name in layout.components:
            self.start(name)
            if name == "containerd":
                real_node.load_pause_image(layout)
        wait_settled(layout, self._processes)

    def _stop_all(self, signals: Signals) -> None:
        layout = self.layout
        # The kubelet is first, or it would start pods again; etcd, to which the others say goodbye, is last.
        for name in ("kubelet", *reversed(layout.components)):
            self._processes.stop(name, signals)
        self._processes.stop_strays({*layout.components, *real_node.HELPERS})
        if layout.node:
            real_node.remove(layout)
