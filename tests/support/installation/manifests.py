"""What a user of the cluster writes: a MemoryCluster, a MemoryNamespace, and pods that use it."""

from __future__ import annotations

import json
from collections.abc import Sequence

TEAM, NAME = "team-a", "research"
CONSENT = "memories-allowed"
BINDING = "/bindings/memory"


def memory_cluster(host: str, port: int, database: str, user: str, password: str) -> str:
    """Return MemoryCluster memory-system/default over one Postgres, open to consenting namespaces."""
    return f"""\
apiVersion: v1
kind: Secret
metadata: {{name: postgres-admin, namespace: memory-system}}
stringData: {{username: {user}, password: "{password}"}}
---
apiVersion: memory.somafractal.io/v1alpha1
kind: MemoryCluster
metadata: {{name: default, namespace: memory-system}}
spec:
  allowedNamespaces:
    from: Selector
    selector: {{matchLabels: {{{CONSENT}: "true"}}}}
  postgres:
    external:
      host: {host}
      port: {port}
      database: {database}
      tls: {{mode: disable}}
      adminSecretRef: {{name: postgres-admin}}
"""


# Two API processes, which take their memories along when the object is deleted; only pods without privileges get in.
MEMORY_NAMESPACE = f"""\
apiVersion: v1
kind: Namespace
metadata:
  name: {TEAM}
  labels:
    {CONSENT}: "true"
    pod-security.kubernetes.io/enforce: restricted
---
apiVersion: memory.somafractal.io/v1alpha1
kind: MemoryNamespace
metadata: {{name: {NAME}, namespace: {TEAM}}}
spec:
  clusterRef: {{name: default, namespace: memory-system}}
  api: {{replicas: 2}}
  deletion: {{policy: Delete, acknowledgeDataLoss: true}}
"""


def client_pod(name: str, command: Sequence[str], *, script: str = "none") -> str:
    """Return a pod with the runtime's image, the MemoryNamespace's binding, and perhaps a ConfigMap with a script."""
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {TEAM}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: client
      image: memory-runtime:latest
      imagePullPolicy: IfNotPresent
      command: {json.dumps(list(command))}
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
      volumeMounts:
        - {{name: binding, mountPath: {BINDING}, readOnly: true}}
        - {{name: script, mountPath: /script, readOnly: true}}
  volumes:
    - {{name: binding, secret: {{secretName: {NAME}-binding}}}}
    - {{name: script, configMap: {{name: {script}, optional: true}}}}
"""
