"""How the API of a MemoryNamespace runs: replicas, resources, pods."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from memory_contracts.api.base import (
    ApiModel,
    LabelKey,
    Labels,
    LabelValue,
    ObjectName,
    Quantity,
    SecretKey,
    cel,
)
from memory_contracts.api.scalars import parse_quantity

_RESOURCE = r"^(cpu|memory|ephemeral-storage|hugepages-[0-9A-Za-z]+|[a-z0-9][-.a-z0-9]*/[-A-Za-z0-9_.]+)$"
_RESOURCE_NAME = "resources are named cpu, memory, ephemeral-storage, or as in example.com/gpu; correct the name"
ResourceName = Annotated[str, Field(max_length=317, pattern=_RESOURCE, description=_RESOURCE_NAME)]
Resources = Annotated[dict[ResourceName, Quantity], Field(max_length=8)]
# Parts of a PodSpec that are handed on as they are; the API server checks them when the Deployment is applied.
_AS_IS: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}
Affinity = Annotated[dict[str, Any], Field(json_schema_extra=_AS_IS)]
Toleration = Annotated[dict[str, Any], Field(json_schema_extra=_AS_IS, description="A toleration as in a PodSpec.")]
TopologySpread = Annotated[
    dict[str, Any], Field(json_schema_extra=_AS_IS, description="A topologySpreadConstraint as in a PodSpec.")
]


_REQUEST_ABOVE_LIMIT = "resources.requests asks for more than resources.limits allows; lower the one or raise the other"


class ResourceRequirements(ApiModel):
    """Compute resources of a container, as Kubernetes writes them."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || "
                "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
                _REQUEST_ABOVE_LIMIT,
            ),
        ),
    )

    requests: Resources | None = Field(default=None, description="What is reserved, e.g. cpu: 100m, memory: 256Mi.")
    limits: Resources | None = Field(default=None, description="What must not be exceeded.")

    @model_validator(mode="after")
    def _requests_within_limits(self) -> ResourceRequirements:
        limits = self.limits or {}
        for name, wanted in (self.requests or {}).items():
            if name in limits and parse_quantity(wanted) > parse_quantity(limits[name]):
                raise ValueError(_REQUEST_ABOVE_LIMIT)
        return self

    @property
    def asks_for_cpu(self) -> bool:
        """Whether CPU is reserved; as in Kubernetes, a limit reserves where no request does."""
        return "cpu" in (self.requests or {}) or "cpu" in (self.limits or {})


_VALUES_MESSAGE = "values go with the operators In and NotIn, which need some, and with no other"


class LabelSelectorRequirement(ApiModel):
    """One condition on a label."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                _VALUES_MESSAGE,
            ),
        ),
    )

    key: LabelKey = Field(description="Name of the label, as in app or example.com/app.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How the values are compared.")
    values: Annotated[list[LabelValue], Field(max_length=32)] | None = Field(
        default=None, description="Values for In and NotIn."
    )

    @model_validator(mode="after")
    def _values_belong(self) -> LabelSelectorRequirement:
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError(_VALUES_MESSAGE)
        return self


class LabelSelector(ApiModel):
    """Selects objects by their labels; empty selects all."""

    match_labels: Labels | None = Field(default=None, description="Labels that must have exactly these values.")
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=16)] | None = Field(
        default=None, description="Further conditions; all must hold."
    )


_AUTOSCALING_MESSAGE = "autoscaling.minReplicas is greater than maxReplicas; lower the one or raise the other"


class Autoscaling(ApiModel):
    """Lets a HorizontalPodAutoscaler choose the number of API processes."""

    model_config = ConfigDict(
        json_schema_extra=cel(("self.minReplicas <= self.maxReplicas", _AUTOSCALING_MESSAGE)),
    )

    min_replicas: int = Field(default=1, ge=1, le=100, description="Fewest API processes.")
    max_replicas: int = Field(ge=1, le=100, description="Most API processes.")
    target_cpu_utilization: int = Field(
        default=80, ge=1, le=100, description="Average CPU use to aim at, in percent of resources.requests.cpu."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Autoscaling:
        if self.min_replicas > self.max_replicas:
            raise ValueError(_AUTOSCALING_MESSAGE)
        return self


class TokenReference(ApiModel):
    """A key of a Secret that holds bearer tokens."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of the MemoryNamespace.")
    key: SecretKey = Field(default="token", description="Key that holds the tokens, one a line.")


class Auth(ApiModel):
    """Who may use the API."""

    token_secret_ref: TokenReference | None = Field(
        default=None, description="Tokens to accept; the operator makes one when absent."
    )


class PodMetadata(ApiModel):
    """Metadata to add to the pods."""

    labels: Labels | None = Field(default=None, description="Labels to add; those of the operator cannot be changed.")
    annotations: Annotated[dict[LabelKey, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] | None = Field(
        default=None, description="Annotations to add."
    )


class LocalObjectReference(ApiModel):
    """Names an object in the same namespace."""

    name: ObjectName = Field(description="Name of the object.")


class PodSpecOverrides(ApiModel):
    """Fields of the pods that a namespace may set; the security settings are not among them."""

    node_selector: Labels | None = Field(default=None, description="Labels that a node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = Field(
        default=None, description="Taints that the pods tolerate, as in a PodSpec."
    )
    affinity: Affinity | None = Field(default=None, description="Affinity of the pods, as in a PodSpec.")
    topology_spread_constraints: Annotated[list[TopologySpread], Field(max_length=8)] | None = Field(
        default=None, description="How pods are spread, as in a PodSpec; over nodes and zones when absent."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pods.")
    runtime_class_name: ObjectName | None = Field(default=None, description="RuntimeClass of the pods.")
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=8)] | None = Field(
        default=None, description="Secrets with which the image is pulled."
    )


class PodTemplate(ApiModel):
    """What is added to the pods of the API."""

    metadata: PodMetadata = Field(default=PodMetadata(), description="Labels and annotations.")
    spec: PodSpecOverrides = Field(default=PodSpecOverrides(), description="Scheduling and image pulling.")


_AUTOSCALING_WITHOUT_CPU = (
    "api.autoscaling measures CPU use against resources.requests.cpu; give that, or remove autoscaling"
)


class Api(ApiModel):
    """The HTTP service of the namespace."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.autoscaling) || !has(self.resources) || "
                "(has(self.resources.requests) && 'cpu' in self.resources.requests) || "
                "(has(self.resources.limits) && 'cpu' in self.resources.limits)",
                _AUTOSCALING_WITHOUT_CPU,
            ),
        ),
    )

    replicas: int = Field(
        default=1, ge=1, le=100, description="How many API processes serve the namespace; not used with autoscaling."
    )
    autoscaling: Autoscaling | None = Field(default=None, description="Chooses the number of processes by CPU use.")
    resources: ResourceRequirements | None = Field(
        default=None, description="Compute resources of a process; the default of the MemoryCluster when absent."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe event that is logged."
    )
    auth: Auth = Field(default=Auth(), description="Who may use the API.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Changes to the pods.")

    @model_validator(mode="after")
    def _autoscaling_can_measure(self) -> Api:
        if self.autoscaling and self.resources and not self.resources.asks_for_cpu:
            raise ValueError(_AUTOSCALING_WITHOUT_CPU)
        return self
