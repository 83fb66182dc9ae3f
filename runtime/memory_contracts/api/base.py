"""What all API types share: how they are written, how they refuse, and the scalars of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from memory_contracts.api.scalars import (
    CIDR,
    DNS_LABEL,
    DURATION,
    HOST,
    LABEL_NAME,
    LABEL_VALUE,
    QUANTITY,
    SECRET_KEY,
    SUBDOMAIN,
    duration_seconds,
)

API_GROUP = "memory.somafractal.io"
# Of everything that belongs to the platform, in the label app.kubernetes.io/part-of.
PART_OF = "somafractal-memory"

DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=SUBDOMAIN)]
SecretKey = Annotated[str, Field(min_length=1, max_length=253, pattern=SECRET_KEY)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=HOST)]
Cidr = Annotated[str, Field(min_length=3, max_length=64, pattern=CIDR)]
Duration = Annotated[str, Field(min_length=2, max_length=32, pattern=DURATION)]
LabelKey = Annotated[
    str,
    Field(
        max_length=317,
        pattern=LABEL_NAME,
        description="labels and annotations have names as in app or example.com/app; correct the name",
    ),
]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
Labels: TypeAlias = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
Quantity = Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=32, pattern=QUANTITY)]


class ApiModel(BaseModel):
    """Base of all API types: camelCase on the wire, unknown fields refused, no value taken for another type.

    What an API server with the CRD refuses is refused here, and what it takes is taken: null is an absent field.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate a document; names in it are those of the wire, while code may construct with Python's."""
        return super().model_validate(obj, **({"by_alias": True, "by_name": False} | options))

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None}


class ObjectMeta(ApiModel):
    """The part of the object's metadata that this service reads."""

    model_config = ConfigDict(extra="ignore")

    name: DnsLabel
    namespace: DnsLabel = "default"
    uid: str = ""
    generation: int = 0


class SecretReference(ApiModel):
    """A Secret in the same namespace as the object that names it."""

    name: ObjectName = Field(description="Name of the Secret.")


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Return the schema extension that makes the API server check `rules`: pairs of expression and message."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def parse_duration(text: str) -> timedelta:
    """Return the time that a `Duration` such as ``1h30m`` stands for."""
    return timedelta(seconds=duration_seconds(text))
