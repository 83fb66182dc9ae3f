"""The environment contract of the API process: every variable it reads, with its default and meaning.

The operator builds a `RuntimeSettings` and writes `to_environment()` into the Deployment; the process reads the same
variables back. Nothing else is read from the environment.

Precedence: the environment, then the file named by ``SOMA_ENV_FILE`` (``NAME=value`` lines), then the default. A
secret may be given as ``NAME_FILE``, the path of a file that holds it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from memory_contracts.errors import Rejected

API_PORT = 9595
LIVENESS_PATH = "/healthz"
READINESS_PATH = "/readyz"
METRICS_PATH = "/metrics"
ENV_FILE_VARIABLE = "SOMA_ENV_FILE"
# How long a stopping process lets requests finish; who stops it waits at least that long before killing it.
SHUTDOWN_SECONDS = 8
MIN_TOKEN_LENGTH = 16
# Read by the `soma` command, often from the same shell.
CLIENT_VARIABLE = "SOMA_URL"
# Secrets that may come as NAME_FILE; the value is the file's text without the final newline.
FILE_VARIABLES = ("SOMA_API_TOKEN", "SOMA_API_READ_TOKEN", "POSTGRES_URL")


def _variable(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class RuntimeSettings(BaseModel):
    """Settings of one API process. Built in code it reads no environment; `load_settings` does."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, frozen=True, hide_input_in_errors=True)

    namespace: str = Field(
        default="default/default",
        validation_alias=_variable("SOMA_MEMORY_NAMESPACE"),
        min_length=1,
        max_length=127,
        description="The tenant, as namespace/name; part of every memory id.",
    )
    host: str = Field(
        default="127.0.0.1", validation_alias=_variable("SOMA_API_HOST"), description="Address to listen on."
    )
    port: int = Field(
        default=API_PORT,
        validation_alias=_variable("SOMA_API_PORT", "UVICORN_PORT"),
        ge=1,
        le=65535,
        description="Port to listen on.",
    )
    token: SecretStr | None = Field(
        default=None,
        validation_alias=_variable("SOMA_API_TOKEN"),
        description="Bearer tokens that may read and write, one a line or separated by commas. Required.",
    )
    read_token: SecretStr | None = Field(
        default=None,
        validation_alias=_variable("SOMA_API_READ_TOKEN"),
        description="Bearer tokens that may only read.",
    )
    read_only: bool = Field(
        default=False,
        validation_alias=_variable("SOMA_READ_ONLY"),
        description="Recall only: every request that would store or delete is refused, whatever its token may do.",
    )
    postgres_url: SecretStr = Field(
        default=SecretStr("postgresql://127.0.0.1:5432/soma"),
        validation_alias=_variable("POSTGRES_URL"),
        description="Address of the database, as libpq writes it.",
    )
    postgres_schema: str = Field(
        default="memory",
        validation_alias=_variable("POSTGRES_SCHEMA"),
        min_length=1,
        max_length=63,
        description="Schema that holds the namespace's tables.",
    )
    postgres_ssl_mode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None,
        validation_alias=_variable("POSTGRES_SSL_MODE"),
        description="TLS policy; overrides sslmode of the URL.",
    )
    postgres_ssl_root_cert: str | None = Field(
        default=None,
        validation_alias=_variable("POSTGRES_SSL_ROOT_CERT"),
        description="File with the certificates of the authorities to trust.",
    )
    postgres_pool_size: int = Field(
        default=10,
        validation_alias=_variable("POSTGRES_POOL_SIZE"),
        ge=2,
        le=200,
        description="Most connections of the pool; a third of them only search. One more listens for changes.",
    )
    postgres_timeout: float = Field(
        default=5.0,
        validation_alias=_variable("POSTGRES_TIMEOUT_SECONDS"),
        gt=0,
        le=300,
        description="Seconds after which a silent database counts as down.",
    )
    migrate_on_start: bool = Field(
        default=True,
        validation_alias=_variable("SOMA_MIGRATE_ON_START"),
        description="Bring the schema up to date at start; the operator does it itself and sets false.",
    )
    embedding_provider: Literal["builtin", "hash"] = Field(
        default="builtin",
        validation_alias=_variable("SOMA_EMBEDDING_PROVIDER"),
        description="builtin: potion-base-8M; hash: feature hashing.",
    )
    embedding_dimensions: int | None = Field(
        default=None,
        validation_alias=_variable("SOMA_EMBEDDING_DIMENSIONS"),
        ge=64,
        le=4096,
        description="Length of the hash provider's vectors; 512 when absent.",
    )
    consistency_timeout: float = Field(
        default=2.0,
        validation_alias=_variable("SOMA_CONSISTENCY_TIMEOUT_SECONDS"),
        gt=0,
        le=60,
        description="Longest wait of a recall for the write named by its consistency token.",
    )
    retention_hours: float = Field(
        default=24.0,
        validation_alias=_variable("SOMA_RETENTION_HOURS"),
        gt=0,
        le=8760,
        description="How long idempotency keys, outbox rows and tombstones are kept.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", validation_alias=_variable("SOMA_LOG_LEVEL"), description="Least severe event that is logged."
    )

    @field_validator("postgres_url")
    @classmethod
    def _is_an_address(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError("an address begins with postgresql://")
        for host in parts.netloc.rpartition("@")[2].split(","):
            urlsplit(f"//{host}").port  # noqa: B018 - raises ValueError for a port that is none
        return url

    def to_environment(self) -> dict[str, str]:
        """Return the variables that make another process read these very settings; defaults are left out."""
        return {
            environment_names(name)[0]: _as_text(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        }


def load_settings(environ: Mapping[str, str] | None = None) -> RuntimeSettings:
    """Return the settings that `environ` (the process environment when None) describes.

    Raises `Rejected` with the variable's name when a value is unusable or a named file cannot be read.
    """
    merged = _merged_environment(os.environ if environ is None else environ)
    try:
        return RuntimeSettings(**_known(merged))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        variable = str(first["loc"][0])
        raise Rejected(f"{variable}: {first['msg'].removeprefix('Value error, ')}", field=variable) from None


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return a sentence for each ``SOMA_*`` name that nothing reads: a misspelt setting must not pass in silence."""
    known = {ENV_FILE_VARIABLE, CLIENT_VARIABLE, *(f"{name}_FILE" for name in FILE_VARIABLES)}
    known.update(name for field in RuntimeSettings.model_fields for name in environment_names(field))
    return [
        f"{name} is not a setting" + (f"; did you mean {close[0]}?" if close else "")
        for name in sorted(names)
        if name.startswith("SOMA_") and name not in known
        for close in [difflib.get_close_matches(name, sorted(known), n=1)]
    ]


def environment_names(field: str) -> list[str]:
    """Return the variables that set `field`, the preferred one first."""
    alias = RuntimeSettings.model_fields[field].validation_alias
    assert isinstance(alias, AliasChoices)
    return [str(choice) for choice in alias.choices]


def split_tokens(text: str, source: str) -> list[str]:
    """Return the bearer tokens in `text`, separated by white space or commas.

    Raises `Rejected` that names `source` when one of them could not be used, or there is none.
    """
    tokens = re.split(r"[\s,]+", text.strip())
    for token in tokens:
        if len(token) < MIN_TOKEN_LENGTH:
            raise Rejected(f"{source}: a token has at least {MIN_TOKEN_LENGTH} characters", field=source)
        if not token.isascii():  # a header could never carry it
            raise Rejected(f"{source}: a token holds ASCII characters only", field=source)
    return tokens


def _merged_environment(environ: Mapping[str, str]) -> dict[str, str]:
    merged = dict(environ)
    if path := environ.get(ENV_FILE_VARIABLE):
        merged = _read_env_file(path) | merged
    for name in FILE_VARIABLES:
        if name not in merged and (secret_path := merged.get(f"{name}_FILE")):
            merged[name] = _read_text(secret_path, f"{name}_FILE").strip()
    return merged


def _known(merged: Mapping[str, str]) -> dict[str, Any]:
    """Keep the first non-empty spelling of each setting; an empty variable is an absent one, as in most shells."""
    found: dict[str, Any] = {}
    for field in RuntimeSettings.model_fields:
        for name in environment_names(field):
            if merged.get(name):
                found[environment_names(field)[0]] = merged[name]
                break
    return found


def _read_env_file(path: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(_read_text(path, ENV_FILE_VARIABLE).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, separator, value = text.partition("=")
        if not separator:
            raise Rejected(f"{ENV_FILE_VARIABLE}: line {number} of {path} is not NAME=value", field=ENV_FILE_VARIABLE)
        values[name.strip()] = value.strip().strip("\"'")
    return values


def _read_text(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Rejected(f"{variable}: cannot read {path} ({reason})", field=variable) from None


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)
