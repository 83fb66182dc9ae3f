"""Logging in to the API server: KUBECONFIG where it is set, else the account of the pod."""

from __future__ import annotations

import os
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config.config_exception import ConfigException

from memory_contracts.errors import Rejected

# Each TLS connection holds buffers of 256 KiB.
CONNECTIONS = 16
DEFAULT_KUBECONFIG = str(Path.home() / ".kube" / "config")


async def load_configuration() -> Configuration:
    """Return how to reach the API server.

    ``KUBECONFIG`` wins, as with kubectl; then the service account of the pod; then ``~/.kube/config``. Raises
    `Rejected` when none of them is there or usable.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    try:
        if (path := os.environ.get("KUBECONFIG")) or not _in_pod():
            await config.load_kube_config(path or DEFAULT_KUBECONFIG, None, configuration)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise Rejected(
            f"no way to reach a Kubernetes API: {error}; set KUBECONFIG, or run in a pod with a service account"
        ) from error
    return configuration


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ
