"""States of a MemoryNamespace, and its end."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from memory_contracts.api.base import ApiModel, Duration, cel

State = Literal["Active", "ReadOnly", "Fenced", "Hibernated"]
DriftPolicy = Literal["Correct", "Report"]

_ACKNOWLEDGE = (
    "deletion.policy Delete destroys the memories; set deletion.acknowledgeDataLoss: true as well, or use Retain"
)


class Deletion(ApiModel):
    """What happens to the memories when the object is deleted."""

    model_config = ConfigDict(
        json_schema_extra=cel(("self.policy != 'Delete' || self.acknowledgeDataLoss", _ACKNOWLEDGE)),
    )

    policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="Retain: the data stays for an object of the same name. "
        "Delete: what this object claimed is dropped.",
    )
    acknowledge_data_loss: bool = Field(default=False, description="Must be true for the policy Delete.")
    grace_period: Duration = Field(
        default="0s", description="How long fenced data is kept before the policy Delete drops it."
    )
    timeout: Duration = Field(
        default="10m", description="How long the backends may fail to answer before onTimeout applies."
    )
    on_timeout: Literal["Block", "Orphan"] = Field(
        default="Block",
        description="Block: the object stays until the backends answer. Orphan: it goes, and its data is left behind.",
    )

    @model_validator(mode="after")
    def _acknowledged(self) -> Deletion:
        if self.policy == "Delete" and not self.acknowledge_data_loss:
            raise ValueError(_ACKNOWLEDGE)
        return self
