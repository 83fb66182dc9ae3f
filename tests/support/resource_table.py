"""Good and bad resources: one table for the pydantic types and for a real API server, which must agree on each row."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace

Document = dict[str, Any]
REMOVED = object()
MODELS: dict[str, type[MemoryCluster] | type[MemoryNamespace]] = {
    "MemoryCluster": MemoryCluster,
    "MemoryNamespace": MemoryNamespace,
}
CLUSTER: Document = {
    "apiVersion": "memory.somafractal.io/v1alpha1",
    "kind": "MemoryCluster",
    "metadata": {"name": "default"},
    "spec": {"postgres": {"external": {"host": "db.example", "adminSecretRef": {"name": "admin"}}}},
}
NAMESPACE: Document = {
    "apiVersion": "memory.somafractal.io/v1alpha1",
    "kind": "MemoryNamespace",
    "metadata": {"name": "research"},
    "spec": {},
}
_TLS: Document = {"caSecretRef": {"name": "ca", "key": "root.pem"}}
FULL_CLUSTER: Document = {
    "allowedNamespaces": {
        "from": "Selector",
        "selector": {
            "matchLabels": {"example.com/team": "a"},
            "matchExpressions": [
                {"key": "stage", "operator": "In", "values": ["test", "live"]},
                {"key": "closed", "operator": "DoesNotExist"},
            ],
        },
    },
    "postgres": {
        "mode": "External",
        "external": {
            "host": "2001:db8::1",
            "port": 6543,
            "database": "Größe",
            "tls": {"mode": "verify-ca", **_TLS},
            "adminSecretRef": {"name": "admin"},
        },
    },
    "qdrant": {
        "mode": "External",
        "external": {
            "url": "https://qdrant.example:6333/",
            "apiKeySecretRef": {"name": "qdrant", "key": "admin"},
            "tls": _TLS,
        },
    },
    "kafka": {
        "mode": "External",
        "external": {
            "bootstrapServers": "one.example:9092,[2001:db8::2]:9092",
            "sasl": {"mechanism": "SCRAM-SHA-256", "secretRef": {"name": "kafka"}},
            "tls": _TLS,
        },
        "defaults": {"replicationFactor": 3},
    },
    "redis": {
        "mode": "External",
        "external": {"host": "redis", "port": 6380, "adminSecretRef": {"name": "redis"}, "tls": _TLS},
    },
    "defaults": {
        "image": "registry.example/memory-runtime:1.2@sha256:0123",
        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
    },
    "capacity": {"maxNamespaces": 100},
    "resync": {"interval": "1m30s"},
    "paused": True,
}
FULL_NAMESPACE: Document = {
    "clusterRef": {"name": "shared", "namespace": "memory-system"},
    "embedding": {"provider": "hash", "dimensions": 1024},
    "vectors": {"distance": "Cosine"},
    "events": {"partitions": 12, "retention": "24h"},
    "api": {
        "replicas": 3,
        "autoscaling": {"minReplicas": 2, "maxReplicas": 9, "targetCpuUtilization": 70},
        "resources": {"requests": {"cpu": "250m", "memory": "1e9"}, "limits": {"cpu": 1, "example.com/gpu": "1"}},
        "logLevel": "debug",
        "auth": {"tokenSecretRef": {"name": "tokens", "key": "list"}},
        "podTemplate": {
            "metadata": {"labels": {"team": "a", "empty": ""}, "annotations": {"example.com/note": "any text: ä"}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "memory", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "topologySpreadConstraints": [{"maxSkew": 1}],
                "priorityClassName": "high",
                "runtimeClassName": "gvisor",
                "imagePullSecrets": [{"name": "registry"}],
            },
        },
    },
    "networkPolicy": {
        "mode": "Strict",
        "allowFrom": [
            {"podSelector": {}},
            {"podSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": {}},
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.3.4/32"]}},
            {"ipBlock": {"cidr": "2001:db8::/32"}},
        ],
    },
    "driftPolicy": "Report",
    "state": "ReadOnly",
    "deletion": {
        "policy": "Delete",
        "acknowledgeDataLoss": True,
        "gracePeriod": "72h",
        "timeout": "1h",
        "onTimeout": "Orphan",
    },
}


@dataclass(frozen=True)
class Good:
    """A resource that both take, and what they fill in."""

    name: str
    base: Document
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> Document:
        """The resource as a person writes it."""
        return changed(self.base, self.changes)


@dataclass(frozen=True)
class Bad(Good):
    """A resource that both refuse; the API server's words hold each of `says`.

    With `rule` it is a rule over several fields, written twice (CEL and pydantic), so both say the same sentence.
    """

    says: tuple[str, ...] = ()
    rule: bool = False


@dataclass(frozen=True)
class Edit:
    """A change from one good resource to another; refused when there is a sentence that says why."""

    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    says: str = ""


def changed(base: Document, changes: dict[str, Any]) -> Document:
    """Return `base` with the values set at the dotted paths; REMOVED takes the field away."""
    document = deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split(".")
        inside = document
        for parent in parents:
            inside = inside.setdefault(parent, {})
        if value is REMOVED:
            del inside[last]
        else:
            inside[last] = deepcopy(value)
    return document


def _cluster(name: str, path: str, value: Any, *says: str, rule: bool = False) -> Bad:
    return Bad(name, CLUSTER, {path: value}, says or (path,), rule)


def _namespace(name: str, path: str, value: Any, *says: str, rule: bool = False) -> Bad:
    return Bad(name, NAMESPACE, {path: value}, says or (path,), rule)


GOOD = [
    Good("the smallest namespace", NAMESPACE),
    Good("a namespace without spec", NAMESPACE, {"spec": REMOVED}),
    Good("a namespace whose spec is null", NAMESPACE, {"spec": None}),
    Good("null is an absent field", NAMESPACE, {"spec.api": None, "spec.events": {"partitions": None}}),
    Good("a namespace with everything", NAMESPACE, {"spec": FULL_NAMESPACE}),
    Good("the smallest cluster", CLUSTER),
    Good("a cluster with everything", CLUSTER, {"spec": FULL_CLUSTER}),
    Good("a part of an object keeps the defaults of the rest", NAMESPACE, {"spec.api": {"logLevel": "error"}}),
    Good("a part of the cluster's defaults", CLUSTER, {"spec.defaults": {"image": "a"}}),
    Good("resources of the cluster replace the default", CLUSTER, {"spec.defaults.resources": {"limits": {"cpu": 1}}}),
    Good("TLS by an empty object", CLUSTER, {"spec.redis": {"external": {"host": "redis", "tls": {}}}}),
    Good("a Secret without key", NAMESPACE, {"spec.api.auth": {"tokenSecretRef": {"name": "tokens"}}}),
    Good("the longest name", NAMESPACE, {"metadata.name": "a" * 63}),
    Good("the fewest and the most", NAMESPACE, {"spec.api.replicas": 100, "spec.events.partitions": 1}),
    Good("the longest duration", NAMESPACE, {"spec.deletion.gracePeriod": "999999h9999999m999999999s"}),
    Good("the bounds of resync", CLUSTER, {"spec.resync.interval": "10m"}),
    Good(
        "Delete with acknowledgement", NAMESPACE, {"spec.deletion": {"policy": "Delete", "acknowledgeDataLoss": True}}
    ),
    Good(
        "requests equal to limits in other words",
        NAMESPACE,
        {"spec.api.resources": {"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1.1G"}}},
    ),
    Good(
        "autoscaling by a limit, which is also the request",
        NAMESPACE,
        {"spec.api.autoscaling": {"maxReplicas": 2}, "spec.api.resources": {"limits": {"cpu": 1}}},
    ),
    Good("a range with host bits", NAMESPACE, {"spec.networkPolicy.allowFrom": [{"ipBlock": {"cidr": "10.1.2.3/8"}}]}),
]

_LABEL = "labels and annotations have names as in app or example.com/app; correct the name"
_EXTERNAL = "spec.postgres.external"
_PEERS = "spec.networkPolicy.allowFrom"
_LET_IN = "spec.allowedNamespaces"
_DELETE = "deletion.policy Delete destroys the memories; set deletion.acknowledgeDataLoss: true as well, or use Retain"
_SELECTOR = "allowedNamespaces.selector goes with from: Selector, and only with it"
_CA = "tls.caSecretRef goes with mode verify-ca or verify-full"
_VALUES = "values go with the operators In and NotIn, which need some, and with no other"
_CIDR = "ipBlock.cidr is no range of addresses; write one as 10.0.0.0/8 or 2001:db8::/32"
_EXCEPT = "ipBlock.except holds a range that is not inside cidr; correct or remove it"
_REQUEST = "resources.requests asks for more than resources.limits allows; lower the one or raise the other"
_RESOURCE = "resources are named cpu, memory, ephemeral-storage, or as in example.com/gpu; correct the name"
_NAME = "metadata.name becomes part of other names; use at most 63 lower-case letters, digits and '-'"

BAD = [
    # Types.
    _namespace("a number as text", "spec.api.replicas", "3", 'spec.api.replicas: Invalid value: "string"'),
    _namespace("true as a number", "spec.api.replicas", True, 'spec.api.replicas: Invalid value: "boolean"'),
    _namespace("half a replica", "spec.api.replicas", 1.5, 'spec.api.replicas: Invalid value: "number"'),
    _namespace("a number as a name", "spec.clusterRef.name", 7, 'spec.clusterRef.name: Invalid value: "integer"'),
    _namespace("a word for true", "spec.deletion.acknowledgeDataLoss", "yes", "spec.deletion.acknowledgeDataLoss"),
    _namespace("a list for an object", "spec.api", [], 'spec.api: Invalid value: "array"'),
    _namespace("an object for a list", _PEERS, {}, f'{_PEERS}: Invalid value: "object"'),
    _namespace("a scalar for the spec", "spec", 7, 'spec: Invalid value: "integer"'),
    _namespace("a label that is no text", "spec.api.podTemplate.metadata.labels", {"a": 1}, "labels.a"),
    # Names.
    _namespace("a name with a dot", "metadata.name", "a.b", _NAME),
    _namespace("a name that is too long", "metadata.name", "a" * 64, _NAME),
    _cluster("a cluster's name with a dot", "metadata.name", "a.b", _NAME),
    _namespace("capitals in a reference", "spec.clusterRef.name", "Shared", "spec.clusterRef.name", "should match"),
    _namespace("a long namespace", "spec.clusterRef.namespace", "a" * 64, "spec.clusterRef.namespace", "than 63"),
    _cluster("a path in a Secret's name", f"{_EXTERNAL}.adminSecretRef.name", "a/b"),
    _cluster("a newline after a name", f"{_EXTERNAL}.adminSecretRef.name", "a\n"),
    # Fields that there are not.
    _namespace("a misspelt field", "spec.api.replica", 2, 'unknown field "spec.api.replica"'),
    _namespace("a field of Python's name", "spec.api.log_level", "info", 'unknown field "spec.api.log_level"'),
    _namespace("a field at the wrong place", "spec.replicas", 2, 'unknown field "spec.replicas"'),
    _cluster("a password in the spec", f"{_EXTERNAL}.password", "x", f'unknown field "{_EXTERNAL}.password"'),
    _namespace("security settings of pods", "spec.api.podTemplate.spec.hostNetwork", True, "unknown field"),
    # Fields that must be there.
    _cluster("no spec", "spec", REMOVED, "spec: Required value"),
    _cluster("no Postgres", "spec", {}, "spec.postgres: Required value"),
    _cluster("null for Postgres", "spec.postgres", None, "spec.postgres: Required value"),
    _cluster("no host", f"{_EXTERNAL}.host", REMOVED, f"{_EXTERNAL}.host: Required value"),
    _cluster("no administrator", f"{_EXTERNAL}.adminSecretRef", REMOVED, f"{_EXTERNAL}.adminSecretRef: Required value"),
    _cluster("no brokers", "spec.kafka", {"external": {}}, "spec.kafka.external.bootstrapServers: Required value"),
    _namespace("no most", "spec.api.autoscaling", {}, "spec.api.autoscaling.maxReplicas: Required value"),
    # Choices.
    _namespace("an unknown embedding", "spec.embedding.provider", "openai", 'Unsupported value: "openai"', '"builtin"'),
    _namespace("an unknown distance", "spec.vectors.distance", "Dot", "spec.vectors.distance: Unsupported value"),
    _namespace("an unknown log level", "spec.api.logLevel", "loud", "spec.api.logLevel: Unsupported value"),
    _namespace("an unknown state", "spec.state", "Asleep", "spec.state: Unsupported value", '"Hibernated"'),
    _namespace("an unknown drift policy", "spec.driftPolicy", "Ignore", "spec.driftPolicy: Unsupported value"),
    _namespace("an unknown network mode", "spec.networkPolicy.mode", "Open", "spec.networkPolicy.mode: Unsupported"),
    _namespace("an unknown end", "spec.deletion.policy", "Forget", "spec.deletion.policy: Unsupported value"),
    _namespace(
        "an unknown onTimeout", "spec.deletion.onTimeout", "Force", "spec.deletion.onTimeout: Unsupported value"
    ),
    _cluster("an unknown TLS mode", f"{_EXTERNAL}.tls.mode", "maybe", f"{_EXTERNAL}.tls.mode: Unsupported value"),
    _cluster("a managed Postgres", "spec.postgres.mode", "Managed", "spec.postgres.mode: Unsupported value"),
    _cluster(
        "an unknown SASL mechanism",
        "spec.kafka",
        {"external": {"bootstrapServers": "a:1", "sasl": {"mechanism": "GSSAPI", "secretRef": {"name": "a"}}}},
        "spec.kafka.external.sasl.mechanism: Unsupported value",
    ),
    _cluster("an unknown consent", "spec.allowedNamespaces.from", "Any", "spec.allowedNamespaces.from: Unsupported"),
    # Bounds of numbers.
    _namespace("no replica", "spec.api.replicas", 0, "spec.api.replicas", "greater than or equal to 1"),
    _namespace("too many replicas", "spec.api.replicas", 101, "spec.api.replicas", "less than or equal to 100"),
    _namespace("no partition", "spec.events.partitions", 0, "spec.events.partitions", "greater than or equal to 1"),
    _namespace("too many partitions", "spec.events.partitions", 1001, "less than or equal to 1000"),
    _namespace("vectors too short", "spec.embedding", {"provider": "hash", "dimensions": 63}, "equal to 64"),
    _namespace("vectors too long", "spec.embedding", {"provider": "hash", "dimensions": 4097}, "equal to 4096"),
    _namespace("no CPU to aim at", "spec.api.autoscaling", {"maxReplicas": 2, "targetCpuUtilization": 0}, "equal to 1"),
    _namespace("more than all CPU", "spec.api.autoscaling", {"maxReplicas": 2, "targetCpuUtilization": 101}, "to 100"),
    _namespace("scaling to too many", "spec.api.autoscaling", {"maxReplicas": 101}, "less than or equal to 100"),
    _namespace("scaling to none", "spec.api.autoscaling", {"minReplicas": 0, "maxReplicas": 2}, "equal to 1"),
    _cluster("port 0", f"{_EXTERNAL}.port", 0, f"{_EXTERNAL}.port", "greater than or equal to 1"),
    _cluster("a port too high", f"{_EXTERNAL}.port", 65536, "less than or equal to 65535"),
    _cluster("a port of Redis too high", "spec.redis", {"external": {"host": "a", "port": 65536}}, "equal to 65535"),
    _cluster("room for nobody", "spec.capacity.maxNamespaces", 0, "greater than or equal to 1"),
    _cluster("room for too many", "spec.capacity.maxNamespaces", 100_001, "less than or equal to 100000"),
    _cluster(
        "no replica of a topic",
        "spec.kafka",
        {"external": {"bootstrapServers": "a:1"}, "defaults": {"replicationFactor": 0}},
        "spec.kafka.defaults.replicationFactor",
    ),
    # Bounds of text.
    _cluster("an empty host", f"{_EXTERNAL}.host", "", f"{_EXTERNAL}.host", "should be at least 1 chars long"),
    _cluster("a long host", f"{_EXTERNAL}.host", "a" * 254, f"{_EXTERNAL}.host", "253"),
    _cluster("a port in the host", f"{_EXTERNAL}.host", "db:5432", f"{_EXTERNAL}.host", "should match"),
    _cluster("an address for a host", f"{_EXTERNAL}.host", "postgresql://db", f"{_EXTERNAL}.host", "should match"),
    _cluster("a user in the host", f"{_EXTERNAL}.host", "admin@db", f"{_EXTERNAL}.host", "should match"),
    _cluster("an empty database", f"{_EXTERNAL}.database", "", f"{_EXTERNAL}.database"),
    _cluster("a long database", f"{_EXTERNAL}.database", "a" * 64, f"{_EXTERNAL}.database", "63"),
    _cluster("a line break in the database", f"{_EXTERNAL}.database", "a\nb", f"{_EXTERNAL}.database", "should match"),
    _cluster("no image", "spec.defaults.image", "", "spec.defaults.image"),
    _cluster("two images", "spec.defaults.image", "a b", "spec.defaults.image", "should match"),
    _cluster("a long image", "spec.defaults.image", "a" * 513, "spec.defaults.image", "512"),
    _cluster("Qdrant without scheme", "spec.qdrant", {"external": {"url": "qdrant:6333"}}, "spec.qdrant.external.url"),
    _cluster("a key in Qdrant's address", "spec.qdrant", {"external": {"url": "http://key@qdrant"}}, "should match"),
    _cluster("a path in Qdrant's address", "spec.qdrant", {"external": {"url": "http://qdrant/a"}}, "should match"),
    _cluster("a broker without port", "spec.kafka", {"external": {"bootstrapServers": "a:1,b"}}, "bootstrapServers"),
    _cluster(
        "a Secret's key with a slash",
        "spec.qdrant.external",
        {"url": "http://a", "apiKeySecretRef": {"name": "a", "key": "a/b"}},
        "key",
    ),
    _namespace("a duration without unit", "spec.deletion.timeout", "600", "spec.deletion.timeout", "should match"),
    _namespace("a duration in days", "spec.events.retention", "7d", "spec.events.retention", "should match"),
    _namespace("a negative duration", "spec.deletion.gracePeriod", "-1h", "spec.deletion.gracePeriod", "should match"),
    _namespace("an endless duration", "spec.events.retention", "9999999h", "spec.events.retention", "should match"),
    _namespace("an empty duration", "spec.deletion.timeout", "", "spec.deletion.timeout"),
    # Bounds of lists and maps.
    _namespace("too many peers", _PEERS, [{"podSelector": {}}] * 33, _PEERS, "32"),
    _namespace("too many tolerations", "spec.api.podTemplate.spec.tolerations", [{}] * 33, "tolerations", "32"),
    _namespace(
        "too many labels", "spec.api.podTemplate.metadata.labels", {f"a{n}": "" for n in range(65)}, "labels", "64"
    ),
    _namespace(
        "too many resources", "spec.api.resources.limits", {f"example.com/{n}": 1 for n in range(9)}, "limits", "8"
    ),
    # Scalars of Kubernetes.
    _namespace("a quantity that is none", "spec.api.resources.requests", {"memory": "lots"}, "requests.memory"),
    _namespace("a negative quantity", "spec.api.resources.requests", {"cpu": -1}, "requests.cpu"),
    _namespace("a resource that is none", "spec.api.resources.requests", {"CPU": 1}, _RESOURCE),
    _namespace("a limit of what is none", "spec.api.resources.limits", {"CPU": 1}, _RESOURCE),
    _cluster("a default that is none", "spec.defaults.resources.requests", {"CPU": 1}, _RESOURCE),
    _cluster("a default limit of what is none", "spec.defaults.resources.limits", {"CPU": 1}, _RESOURCE),
    _namespace("a label's name", "spec.api.podTemplate.metadata.labels", {"not a name": ""}, _LABEL),
    _namespace("a label's long name", "spec.api.podTemplate.metadata.labels", {f"a/{'b' * 64}": ""}, _LABEL),
    _namespace("a node label's name", "spec.api.podTemplate.spec.nodeSelector", {"not a name": ""}, _LABEL),
    _namespace("a label's name of pods", _PEERS, [{"podSelector": {"matchLabels": {"not a name": ""}}}], _LABEL),
    _namespace("and of namespaces", _PEERS, [{"namespaceSelector": {"matchLabels": {"not a name": ""}}}], _LABEL),
    _cluster("and of those let in", _LET_IN, {"from": "Selector", "selector": {"matchLabels": {"-": ""}}}, _LABEL),
    _namespace("a label's value", "spec.api.podTemplate.metadata.labels", {"a": "not a value"}, "labels.a"),
    _namespace("a label's long value", "spec.api.podTemplate.spec.nodeSelector", {"a": "b" * 64}, "nodeSelector.a"),
    _namespace("an annotation's name", "spec.api.podTemplate.metadata.annotations", {"-": ""}, _LABEL),
    # Rules over several fields.
    _namespace(
        "dimensions of the builtin model",
        "spec.embedding",
        {"dimensions": 256},
        "embedding.dimensions goes with provider hash only; the builtin model has 256",
        rule=True,
    ),
    _namespace("Delete without acknowledgement", "spec.deletion.policy", "Delete", _DELETE, rule=True),
    _namespace(
        "fewest above most",
        "spec.api.autoscaling",
        {"minReplicas": 3, "maxReplicas": 2},
        "autoscaling.minReplicas is greater than maxReplicas; lower the one or raise the other",
        rule=True,
    ),
    _namespace(
        "autoscaling without CPU",
        "spec.api",
        {"autoscaling": {"maxReplicas": 2}, "resources": {"requests": {"memory": "1Gi"}}},
        "api.autoscaling measures CPU use against resources.requests.cpu; give that, or remove autoscaling",
        rule=True,
    ),
    _namespace(
        "a request above its limit",
        "spec.api.resources",
        {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}},
        _REQUEST,
        rule=True,
    ),
    _cluster(
        "a request above its limit, in numbers",
        "spec.defaults.resources",
        {"requests": {"cpu": 2}, "limits": {"cpu": "1999m"}},
        _REQUEST,
        rule=True,
    ),
    _namespace(
        "events kept for seconds",
        "spec.events.retention",
        "59s",
        "events.retention is at least 1m; choose a longer time",
        rule=True,
    ),
    _namespace(
        "a peer of two kinds",
        _PEERS,
        [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}],
        "a peer is either an ipBlock or selectors; remove one of them",
        rule=True,
    ),
    _namespace(
        "a peer that is nobody",
        _PEERS,
        [{}],
        "a peer names nobody; give podSelector, namespaceSelector or ipBlock",
        rule=True,
    ),
    _namespace("an address that is no range", _PEERS, [{"ipBlock": {"cidr": "10.0.0.0/33"}}], _CIDR, rule=True),
    _namespace("octets above 255", _PEERS, [{"ipBlock": {"cidr": "10.256.0.0/16"}}], _CIDR, rule=True),
    _namespace("an octet with a zero before", _PEERS, [{"ipBlock": {"cidr": "010.0.0.0/8"}}], _CIDR, rule=True),
    _namespace("IPv4 as IPv6", _PEERS, [{"ipBlock": {"cidr": "::ffff:10.0.0.0/104"}}], _CIDR, rule=True),
    _namespace("an address without length", _PEERS, [{"ipBlock": {"cidr": "10.0.0.1"}}], "cidr", "should match"),
    _namespace(
        "an exception outside",
        _PEERS,
        [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}],
        _EXCEPT,
        rule=True,
    ),
    _namespace(
        "an exception of everything",
        _PEERS,
        [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}],
        _EXCEPT,
        rule=True,
    ),
    _namespace(
        "an exception of the other family",
        _PEERS,
        [{"ipBlock": {"cidr": "::/0", "except": ["10.0.0.0/8"]}}],
        _EXCEPT,
        rule=True,
    ),
    _namespace(
        "values without In",
        _PEERS,
        [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}],
        _VALUES,
        rule=True,
    ),
    _namespace(
        "In without values",
        _PEERS,
        [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}}],
        _VALUES,
        rule=True,
    ),
    _namespace(
        "values without In, of namespaces",
        _PEERS,
        [{"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist", "values": ["b"]}]}}],
        _VALUES,
        rule=True,
    ),
    _cluster(
        "NotIn without values, of those let in",
        _LET_IN,
        {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "NotIn"}]}},
        _VALUES,
        rule=True,
    ),
    _cluster("Selector without a selector", "spec.allowedNamespaces.from", "Selector", _SELECTOR, rule=True),
    _cluster("a selector without Selector", "spec.allowedNamespaces.selector", {}, _SELECTOR, rule=True),
    _cluster(
        "authorities that nobody asks",
        f"{_EXTERNAL}.tls",
        {"mode": "require", "caSecretRef": {"name": "ca"}},
        _CA,
        rule=True,
    ),
    _cluster(
        "TLS without https",
        "spec.qdrant",
        {"external": {"url": "http://qdrant:6333", "tls": {}}},
        "qdrant.external.tls goes with an address that begins with https://; change url or remove tls",
        rule=True,
    ),
    _cluster("too often", "spec.resync.interval", "4s", "resync.interval is between 5s and 10m", rule=True),
    _cluster("too rarely", "spec.resync.interval", "601s", "resync.interval is between 5s and 10m", rule=True),
]

_NO_MOVE = (
    "clusterRef cannot change, for memories do not move between clusters; restore it, or make a new MemoryNamespace"
)
_NO_MODEL = "embedding cannot change, for stored vectors belong to the model that made them; restore it, or make a new"
_NO_SHRINK = "events.partitions can only grow, for Kafka cannot remove partitions; restore the former number"
EDITS = [
    Edit("another cluster", {"spec.clusterRef.name": "one"}, {"spec.clusterRef.name": "two"}, _NO_MOVE),
    Edit("the cluster no longer named", {"spec.clusterRef.name": "one"}, {}, _NO_MOVE),
    Edit("the cluster's namespace", {}, {"spec.clusterRef.namespace": "elsewhere"}, _NO_MOVE),
    Edit("another model", {}, {"spec.embedding.provider": "hash"}, _NO_MODEL),
    Edit(
        "another length",
        {"spec.embedding": {"provider": "hash"}},
        {"spec.embedding": {"provider": "hash", "dimensions": 256}},
        _NO_MODEL,
    ),
    Edit("fewer partitions", {"spec.events.partitions": 6}, {"spec.events.partitions": 5}, _NO_SHRINK),
    Edit("partitions no longer named", {"spec.events.partitions": 6}, {}, _NO_SHRINK),
    Edit("the spec removed", {"spec.events.partitions": 6}, {"spec": REMOVED}, _NO_SHRINK),
    Edit("more partitions", {"spec.events.partitions": 6}, {"spec.events.partitions": 7}),
    Edit("the default said aloud", {}, {"spec.clusterRef.name": "default", "spec.embedding.provider": "builtin"}),
    Edit(
        "everything else",
        {},
        {f"spec.{name}": FULL_NAMESPACE[name] for name in FULL_NAMESPACE if name not in ("clusterRef", "embedding")},
    ),
]
