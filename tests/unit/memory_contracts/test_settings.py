"""The environment contract: what one process writes, another reads; nothing is misread in silence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from memory_contracts.errors import Rejected
from memory_contracts.settings import (
    API_PORT,
    FILE_VARIABLES,
    RuntimeSettings,
    environment_names,
    load_settings,
    unknown_variables,
)

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=40
)


LEVELS = st.sampled_from(["debug", "info", "warning", "error"])
SETTINGS = st.builds(
    RuntimeSettings,
    namespace=WORDS,
    host=WORDS,
    port=st.integers(1, 65535),
    token=st.none() | WORDS.map(SecretStr),
    read_token=st.none() | WORDS.map(SecretStr),
    read_only=st.booleans(),
    postgres_url=WORDS.map(lambda word: SecretStr(f"postgresql://u:p@h:5432/{word}?a=b")),
    postgres_schema=WORDS,
    postgres_ssl_mode=st.sampled_from([None, "disable", "prefer", "require", "verify-ca", "verify-full"]),
    postgres_ssl_root_cert=st.none() | WORDS,
    postgres_pool_size=st.integers(2, 200),
    postgres_timeout=st.floats(0.001, 300),
    migrate_on_start=st.booleans(),
    embedding_provider=st.sampled_from(["builtin", "hash"]),
    embedding_dimensions=st.none() | st.integers(64, 4096),
    consistency_timeout=st.floats(0.001, 60),
    retention_hours=st.floats(0.001, 8760),
    log_level=LEVELS,
)


@given(SETTINGS)
def test_another_process_reads_what_this_one_writes(settings):
    environment = settings.to_environment()
    assert load_settings(environment) == settings
    assert unknown_variables(environment) == []


def test_the_round_trip_covers_every_setting():
    """The strategy above names each field; a new setting must join it."""
    source = Path(__file__).read_text("utf-8").split("SETTINGS = st.builds(")[1].split("\n)")[0]
    assert {line.split("=")[0].strip() for line in source.splitlines() if "=" in line} == set(
        RuntimeSettings.model_fields
    )


def test_defaults_are_not_written():
    assert RuntimeSettings().to_environment() == {}
    assert RuntimeSettings(port=API_PORT).to_environment() == {}


def test_building_settings_in_code_reads_no_environment(monkeypatch):
    monkeypatch.setenv("SOMA_API_PORT", "1")
    monkeypatch.setenv("PORT", "2")
    assert RuntimeSettings().port == API_PORT


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("UVICORN_PORT", "9600", "port", 9600),
        ("SOMA_API_PORT", "9600", "port", 9600),
        ("POSTGRES_URL", "postgresql://db/soma", "postgres_url", SecretStr("postgresql://db/soma")),
        ("POSTGRES_SSL_MODE", "verify-full", "postgres_ssl_mode", "verify-full"),
        ("POSTGRES_SSL_ROOT_CERT", "/ca.pem", "postgres_ssl_root_cert", "/ca.pem"),
        ("SOMA_API_TOKEN", "a-token", "token", SecretStr("a-token")),
        ("SOMA_MEMORY_NAMESPACE", "team/notes", "namespace", "team/notes"),
    ],
)
def test_names_of_somafractalmemory_are_read(variable, value, field, expected):
    assert getattr(load_settings({variable: value}), field) == expected


def test_the_preferred_name_wins_over_its_alias():
    assert load_settings({"UVICORN_PORT": "1", "SOMA_API_PORT": "2"}).port == 2


def test_an_empty_variable_is_an_absent_one():
    assert load_settings({"SOMA_API_PORT": "", "UVICORN_PORT": "9601"}).port == 9601
    assert load_settings({"SOMA_API_TOKEN": ""}).token is None


class TestFiles:
    def test_a_secret_may_come_from_a_file(self, tmp_path):
        (tmp_path / "token").write_text("from-the-file\n")
        for variable in FILE_VARIABLES:
            text = "postgresql://db/from-the-file" if variable == "POSTGRES_URL" else "from-the-file"
            (tmp_path / "secret").write_text(text + "\n")
            field = next(name for name in RuntimeSettings.model_fields if variable in environment_names(name))
            settings = load_settings({f"{variable}_FILE": str(tmp_path / "secret")})
            assert getattr(settings, field).get_secret_value() == text

    def test_the_variable_itself_wins_over_its_file(self, tmp_path):
        settings = load_settings({"SOMA_API_TOKEN": "direct", "SOMA_API_TOKEN_FILE": str(tmp_path / "absent")})
        assert settings.token == SecretStr("direct")

    def test_a_file_of_settings_is_read_and_the_environment_wins(self, tmp_path):
        file = tmp_path / "env"
        file.write_text("# ports\n\nSOMA_API_PORT = 9700\nSOMA_LOG_LEVEL='debug'\nPOSTGRES_SCHEMA=\"a=b\"\n")
        settings = load_settings({"SOMA_ENV_FILE": str(file), "SOMA_LOG_LEVEL": "error"})
        assert (settings.port, settings.log_level, settings.postgres_schema) == (9700, "error", "a=b")

    def test_a_line_that_is_no_assignment_is_named(self, tmp_path):
        (tmp_path / "env").write_text("SOMA_API_PORT=1\nnonsense\n")
        with pytest.raises(Rejected, match="SOMA_ENV_FILE: line 2 of"):
            load_settings({"SOMA_ENV_FILE": str(tmp_path / "env")})

    @pytest.mark.parametrize("variable", ["SOMA_ENV_FILE", *(f"{name}_FILE" for name in FILE_VARIABLES)])
    def test_a_file_that_cannot_be_read_is_named(self, tmp_path, variable):
        with pytest.raises(Rejected, match=f"{variable}: cannot read .*absent") as caught:
            load_settings({variable: str(tmp_path / "absent")})
        assert caught.value.field == variable
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        with pytest.raises(Rejected, match=f"{variable}: .*not UTF-8"):
            load_settings({variable: str(tmp_path / "binary")})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SOMA_API_PORT", "0"),
        ("SOMA_API_PORT", "65536"),
        ("SOMA_API_PORT", "web"),
        ("POSTGRES_POOL_SIZE", "1"),
        ("POSTGRES_TIMEOUT_SECONDS", "0"),
        ("POSTGRES_TIMEOUT_SECONDS", "-1"),
        ("POSTGRES_TIMEOUT_SECONDS", "nan"),
        ("POSTGRES_TIMEOUT_SECONDS", "inf"),
        ("POSTGRES_URL", "mysql://db/soma"),
        ("POSTGRES_URL", "host=db"),
        ("POSTGRES_URL", "postgresql://db:port/soma"),
        ("POSTGRES_SCHEMA", "s" * 64),
        ("POSTGRES_SSL_MODE", "maybe"),
        ("SOMA_EMBEDDING_PROVIDER", "magic"),
        ("SOMA_EMBEDDING_DIMENSIONS", "63"),
        ("SOMA_LOG_LEVEL", "loud"),
        ("SOMA_MIGRATE_ON_START", "perhaps"),
        ("SOMA_MEMORY_NAMESPACE", "n" * 128),
        ("SOMA_RETENTION_HOURS", "0"),
    ],
)
def test_an_unusable_value_is_refused_with_the_name_of_its_variable(variable, value):
    with pytest.raises(Rejected) as caught:
        load_settings({variable: value})
    assert caught.value.field == variable
    assert caught.value.detail.startswith(f"{variable}: ")


def test_an_error_never_shows_a_secret():
    with pytest.raises(Rejected) as caught:
        load_settings({"POSTGRES_URL": "mysql://admin:hunter2@db/soma"})
    assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize(
    "url", ["postgresql://a:1,b:2/soma", "postgres://u:p%40@[::1]:5432/soma", "postgresql:///soma?host=/run/postgresql"]
)
def test_any_address_that_libpq_takes_is_taken(url):
    assert load_settings({"POSTGRES_URL": url}).postgres_url.get_secret_value() == url


def test_secrets_are_not_shown():
    settings = load_settings({"SOMA_API_TOKEN": "hunter2-hunter2", "POSTGRES_URL": "postgresql://u:hunter2@db/soma"})
    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SOMA_API_PRT", ["SOMA_API_PRT is not a setting; did you mean SOMA_API_PORT?"]),
        ("SOMA_TOTALLY_ELSEWHERE_ZZZ", ["SOMA_TOTALLY_ELSEWHERE_ZZZ is not a setting"]),
        ("SOMA_API_TOKEN_FILE", []),
        ("SOMA_ENV_FILE", []),
        ("PATH", []),
        ("POSTGRES_PASSWORD", []),
    ],
)
def test_a_name_that_nothing_reads_is_pointed_out(name, says):
    assert unknown_variables([name, "SOMA_API_PORT"]) == says
