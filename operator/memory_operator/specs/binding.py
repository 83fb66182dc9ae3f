"""The Secret that tells other workloads how to reach the API (Service Binding for Kubernetes 1.1)."""

from __future__ import annotations

from typing import Final

from memory_contracts.settings import API_PORT, split_tokens
from memory_operator.specs.labels import MANAGER, Manifest
from memory_operator.specs.secret import secret_manifest
from memory_operator.specs.service import service_host, service_url
from memory_operator.specs.tenant import Tenant

BINDING_TYPE: Final = "memory"


def build_binding(tenant: Tenant) -> Manifest:
    """Return the Secret; its type, ``servicebinding.io/memory``, is the one that the specification asks for.

    Of several tokens it holds the first: who replaces a token puts the new one in front and leaves the old one until
    all clients have changed.
    """
    names = tenant.names
    values = {
        "type": BINDING_TYPE,
        "provider": MANAGER,
        "host": service_host(names),
        "port": str(API_PORT),
        "uri": service_url(names),
        "token": split_tokens(tenant.credentials.api_token, "the API token")[0],
    }
    return secret_manifest(tenant.namespace, names.binding, f"servicebinding.io/{BINDING_TYPE}", values)
