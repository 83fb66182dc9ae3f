"""Which traffic reaches the API of a MemoryNamespace."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from memory_contracts.api.base import ApiModel, Cidr, cel
from memory_contracts.api.scalars import lies_inside, parse_cidr
from memory_contracts.api.workload import LabelSelector

_CIDR_MESSAGE = "ipBlock.cidr is no range of addresses; write one as 10.0.0.0/8 or 2001:db8::/32"
_EXCEPT_MESSAGE = "ipBlock.except holds a range that is not inside cidr; correct or remove it"


class IpBlock(ApiModel):
    """A range of addresses."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("isCIDR(self.cidr)", _CIDR_MESSAGE),
            (
                "!has(self.except) || !isCIDR(self.cidr) || self.except.all(part, isCIDR(part) && "
                "cidr(self.cidr).containsCIDR(part) && cidr(part).prefixLength() > cidr(self.cidr).prefixLength())",
                _EXCEPT_MESSAGE,
            ),
        ),
    )

    cidr: Cidr = Field(description="The range, e.g. 10.0.0.0/8.")
    except_: Annotated[list[Cidr], Field(max_length=16)] | None = Field(
        default=None, alias="except", description="Ranges inside it that are left out."
    )

    @model_validator(mode="after")
    def _are_ranges(self) -> IpBlock:
        if parse_cidr(self.cidr) is None:
            raise ValueError(_CIDR_MESSAGE)
        if not all(lies_inside(part, self.cidr) for part in self.except_ or ()):
            raise ValueError(_EXCEPT_MESSAGE)
        return self


_PEER_MESSAGE = "a peer is either an ipBlock or selectors; remove one of them"
_EMPTY_PEER_MESSAGE = "a peer names nobody; give podSelector, namespaceSelector or ipBlock"


class NetworkPeer(ApiModel):
    """Who may connect: pods by selectors, or addresses."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!has(self.ipBlock) || (!has(self.podSelector) && !has(self.namespaceSelector))", _PEER_MESSAGE),
            ("has(self.ipBlock) || has(self.podSelector) || has(self.namespaceSelector)", _EMPTY_PEER_MESSAGE),
        ),
    )

    pod_selector: LabelSelector | None = Field(
        default=None, description="Pods, of this namespace unless the next is given."
    )
    namespace_selector: LabelSelector | None = Field(default=None, description="Namespaces whose pods may connect.")
    ip_block: IpBlock | None = Field(default=None, description="Addresses.")

    @model_validator(mode="after")
    def _names_one(self) -> NetworkPeer:
        selectors = self.pod_selector is not None or self.namespace_selector is not None
        if self.ip_block and selectors:
            raise ValueError(_PEER_MESSAGE)
        if not self.ip_block and not selectors:
            raise ValueError(_EMPTY_PEER_MESSAGE)
        return self


class NetworkPolicy(ApiModel):
    """Which traffic reaches the API and leaves it."""

    mode: Literal["Strict", "Disabled"] = Field(
        default="Strict",
        description="Strict: only peers of this Kubernetes namespace and of allowFrom connect, "
        "and only DNS and the backends are reached. Disabled: no NetworkPolicy.",
    )
    allow_from: Annotated[list[NetworkPeer], Field(max_length=32)] = Field(
        default_factory=list, description="Further peers that may connect."
    )
