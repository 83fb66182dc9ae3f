"""What one plane is made of: its directory, ports and choices; written down so that any process can go on with it."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from memory_operator.local.ports import is_free

LOOPBACK = "127.0.0.1"
NODE_ADDRESS = "10.244.0.1"
# Below the ports that the kernel gives to outgoing connections, and below those of NodePort services: so a port stays
# free between the choice and the bind, and while its component is killed.
PORTS = range(20000, 30000)


@dataclass(frozen=True, slots=True)
class Layout:
    """The choices of `ControlPlane.up`, and what was chosen for it."""

    directory: Path
    components: tuple[str, ...]
    node: bool
    audit: bool
    api_server_flags: tuple[str, ...]
    api_port: int
    etcd_port: int
    peer_port: int
    proxy_port: int

    @property
    def host(self) -> str:
        """Where the API server listens; pods must reach it too, so with a node it is the bridge's address."""
        return NODE_ADDRESS if self.node else LOOPBACK

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.host}:{self.api_port}"

    @property
    def etcd(self) -> str:
        """The URL of etcd."""
        return f"http://{LOOPBACK}:{self.etcd_port}"

    @property
    def certificates(self) -> Path:
        """The folder of keys and certificates."""
        return self.directory / "certificates"

    @property
    def logs(self) -> Path:
        """The folder with one log a component, and the audit log."""
        return self.directory / "logs"

    @property
    def audit_log(self) -> Path:
        """The log of requests; absent without `audit`."""
        return self.logs / "audit.log"

    def kubeconfig(self, user: str) -> Path:
        """Return the kubeconfig of a user or component."""
        return self.directory / f"{user}.kubeconfig"

    def log(self, component: str) -> Path:
        """Return what a component said."""
        return self.logs / f"{component}.log"

    def save(self) -> None:
        """Write it down."""
        record_of(self.directory).write_text(json.dumps(asdict(self), default=str, indent=2), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no plane was ever brought up in this directory.
        """
        kept = json.loads(record_of(directory).read_text("utf-8"))
        for name in ("components", "api_server_flags"):
            kept[name] = tuple(kept[name])
        return cls(**{**kept, "directory": directory})


def record_of(directory: Path) -> Path:
    """Return the file that makes a directory a plane's."""
    return directory / "plane.json"


def free_ports(count: int) -> list[int]:
    """Return different ports of 127.0.0.1 on which nobody listens."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)
        if port not in found and is_free(port):
            found.append(port)
    return found
