"""Reading a resource file; what is wrong with it becomes one sentence: the file, the field, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from memory_contracts.api.scalars import DNS_LABEL, FORMS
from memory_contracts.errors import Rejected
from memory_contracts.v1alpha1 import API_VERSION, MemoryNamespace
from memory_operator.keys import CLUSTER_KIND, NAMESPACE_KIND

# Parts of a path that pydantic adds: the branch of a union, and that a key is meant.
NO_FIELDS = ("constrained-int", "constrained-str", "[key]")


def load_namespace(path: Path) -> MemoryNamespace:
    """Return the one MemoryNamespace of the file.

    Raises `Rejected` when there is none or more than one, when a field is wrong, or when the file needs a cluster.
    """
    return parse_namespace(_read(path), str(path))


def parse_namespace(text: str, origin: str) -> MemoryNamespace:
    """Return the one MemoryNamespace in `text`; `origin` names it in errors."""
    documents = [each for each in _documents(text, origin) if each is not None]
    namespaces = [each for each in documents if _kind(each, origin) == NAMESPACE_KIND]
    if len(namespaces) != len(documents):
        raise Rejected(
            f"{origin}: a {CLUSTER_KIND} names an external Postgres, which local mode takes from the command line; "
            "remove it from the file and give --postgres-url"
        )
    if not namespaces:
        raise Rejected(f"{origin}: holds no {NAMESPACE_KIND}; examples/namespace.yaml shows one")
    if len(namespaces) > 1:
        raise Rejected(
            f"{origin}: holds {len(namespaces)} objects of kind {NAMESPACE_KIND}; local mode serves exactly one, "
            "so give each a file and a --state-dir of its own"
        )
    try:
        namespace = MemoryNamespace.model_validate(namespaces[0])
    except ValidationError as error:
        raise Rejected(f"{origin}: {_sentence(_telling(error.errors(include_url=False)))}") from None
    _refuse_secrets(namespace, origin)
    return namespace


def notices(namespace: MemoryNamespace) -> Iterator[str]:
    """Yield a sentence for each part of the specification that one machine reads in a way of its own."""
    if autoscaling := namespace.spec.api.autoscaling:
        count = autoscaling.min_replicas
        yield f"spec.api.autoscaling: nothing scales on one machine; processes that run: {count} (minReplicas)"


def _refuse_secrets(namespace: MemoryNamespace, origin: str) -> None:
    if namespace.spec.api.auth.token_secret_ref:
        raise Rejected(
            f"{origin}: spec.api.auth.tokenSecretRef: there are no Secrets on one machine; remove it, and put your "
            f"own tokens into the file secrets/{namespace.metadata.name}/token of the state directory, one a line"
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Rejected(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Rejected(f"{path}: is not UTF-8 text") from None


def _documents(text: str, origin: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=_StrictLoader))
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Rejected(f"{origin}: is not valid YAML{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise Rejected(f"{origin}: is not valid YAML: {' '.join(str(error).split())}") from None


def _kind(document: Any, origin: str) -> str:
    if not isinstance(document, dict):
        raise Rejected(f"{origin}: an object is a mapping with apiVersion, kind, metadata and spec")
    kind = document.get("kind")
    if kind not in (NAMESPACE_KIND, CLUSTER_KIND):
        raise Rejected(f"{origin}: kind: {kind!r} is unknown; write {NAMESPACE_KIND}")
    if document.get("apiVersion") != API_VERSION:
        raise Rejected(f"{origin}: apiVersion: {document.get('apiVersion')!r} is unknown; write {API_VERSION}")
    return str(kind)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML itself would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _telling(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """Return the error to tell: the first, or of the branches of a union the last, which is the text."""
    place = errors[0]["loc"][:-1] if errors[0]["loc"][-1:] == ("constrained-int",) else None
    return [each for each in errors if place is None or each["loc"][:-1] == place][-1 if place else 0]


def _sentence(error: ErrorDetails) -> str:
    path = ".".join(str(part) for part in error["loc"] if part not in NO_FIELDS)
    value = f"not {error['input']!r}"
    match error["type"]:
        case "extra_forbidden":
            close = difflib.get_close_matches(str(error["loc"][-1]), sorted(_field_names(MemoryNamespace)), n=1)
            text = "is no field; " + (f"did you mean {close[0]}?" if close else "remove it")
        case "missing":
            text = "is required; add it"
        case "value_error":
            text = error["msg"].removeprefix("Value error, ")
        case "string_type":
            text = f"must be text, {value}; put it in quotes"
        case "string_pattern_mismatch":
            text = f"{_form(error['ctx']['pattern'])}, {value}"
        case "model_type":
            text = f"must be a mapping, {value}"
        case _:
            text = f"{error['msg'].replace('Input should', 'must').replace('String should', 'must')}, {value}"
    return f"{path}: {text}"


def _form(pattern: str) -> str:
    if pattern == DNS_LABEL:
        return "must be lower-case letters, digits and '-', as in my-memory"
    name, example = FORMS.get(pattern, ("", ""))
    return f"must be a {name}, as in {example}" if name else f"must match {pattern}"


def _field_names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _field_names(kind)
