import json
import os
import subprocess
import sys
from importlib import metadata

import click
import pytest
from click.testing import CliRunner

from memory_contracts.local import LocalEndpoint, write_endpoint
from memory_runtime.cli import app
from memory_runtime.cli.app import OWN_COMMANDS, soma


def problem(status, detail, **headers):
    return status, {"title": "Problem", "status": status, "detail": detail}, headers


# --- the group ---


@pytest.mark.parametrize("name", OWN_COMMANDS)
def test_every_command_has_help_with_examples(run, name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"\n    soma {name} " in result.stdout or f"\n    soma {name}\n" in result.stdout
    assert "--token-file" in result.stdout and "--output" in result.stdout


def test_help_lists_the_commands_and_the_exit_codes(run):
    result = run("--help")
    assert all(f"\n  {name} " in result.stdout for name in OWN_COMMANDS)
    assert "Exit codes:\n    0  done" in result.stdout


def test_the_version_is_that_of_the_package(run):
    assert run("--version").stdout == f"soma, version {metadata.version('memory-operator')}\n"


def test_help_and_a_wrong_command_import_neither_http_nor_tables():
    code = (
        "import sys; from click.testing import CliRunner; from memory_runtime.cli.app import soma, OWN_COMMANDS\n"
        "[CliRunner().invoke(soma, [name, '--help']) for name in OWN_COMMANDS]\n"
        "print(sorted({'httpx', 'rich', 'pydantic', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


class Plugin:
    def __init__(self, name, load):
        self.name, self.load = name, load


@pytest.fixture
def plugins(monkeypatch):
    installed = []
    monkeypatch.setattr(app.metadata, "entry_points", lambda group: installed)
    app.load_plugins.cache_clear()
    yield installed
    app.load_plugins.cache_clear()


def fail(error):
    raise error


def test_commands_of_other_packages_join_the_group(run, plugins):
    plugins.append(Plugin("local", lambda: (click.Command("up", callback=lambda: click.echo("served")),)))
    assert run("up").stdout == "served\n"
    assert "\n  up" in run("--help").stdout


def test_a_plugin_cannot_take_the_name_of_an_own_command(run, plugins):
    plugins.append(Plugin("local", lambda: (click.Command("store", callback=lambda: click.echo("taken")),)))
    assert run("store").exit_code == 2


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            ModuleNotFoundError("No module named 'asyncpg'", name="asyncpg"),
            "asyncpg is not installed; try: pip install",
        ),
        (SyntaxError("bad\nluck"), "SyntaxError: bad"),
        (AttributeError("no commands"), "AttributeError: no commands"),
    ],
    ids=["dependency", "syntax", "attribute"],
)
def test_a_plugin_that_cannot_be_loaded_is_one_line_and_the_rest_works(run, plugins, error, hint):
    plugins.append(Plugin("local", lambda: fail(error)))
    result = run("--help")
    assert result.exit_code == 0 and "recall" in result.stdout
    assert result.stderr.startswith(f"hint: the 'local' commands are not available: {hint}")
    assert result.stderr.count("\n") == 1


def test_an_own_command_loads_no_plugin(soma_here, plugins):
    plugins.append(Plugin("local", lambda: fail(AssertionError("loaded"))))
    assert soma_here("stats").stderr == ""


# --- store, get, forget, stats ---


def test_a_stored_memory_can_be_read_and_forgotten(soma_here, service):
    stored = soma_here(
        "store", "--coord", "1, 2", "--payload", '{"text": "tea"}', "--type", "semantic", "--importance", "2"
    )
    assert stored.stdout.startswith("Stored 1.0,2.0 as ") and stored.stdout.endswith(", version 1.\n")
    (request,) = service.calls("POST", "/store")
    assert request.json == {"coord": [1.0, 2.0], "payload": {"text": "tea"}, "type": "semantic", "importance": 2.0}
    assert len(request.headers["Idempotency-Key"]) == 32
    assert json.loads(soma_here("get", "1,2.0", "-o", "json").stdout)["payload"] == {"text": "tea"}
    assert 'payload\t{"text": "tea"}\n' in soma_here("get", "1,2").stdout
    assert soma_here("forget", "1,2").stdout == "Deleted 1.0,2.0.\n"
    assert service.memories == {}


def test_what_is_not_given_is_not_sent(soma_here, service):
    soma_here("store", "--coord", "1", "--payload", "{}")
    soma_here("recall", "x")
    assert service.calls("POST", "/store")[0].json == {"coord": [1.0], "payload": {}}
    assert service.calls("POST", "/recall")[0].json == {"query": "x", "top_k": 10}


def test_negative_coordinates_need_no_trick(soma_here, service):
    soma_here("store", "--coord", "-1,2", "--payload", "{}")
    assert soma_here("get", "-1,2", "-o", "json").exit_code == 0
    assert soma_here("forget", "-o", "json", "-1,2").exit_code == 0
    assert service.memories == {}


def test_a_coordinate_with_an_exponent_survives_the_address(soma_here):
    soma_here("store", "--coord", "1e300,1e-7", "--payload", "{}")
    assert soma_here("get", "1e300,1e-7").exit_code == 0


def test_an_absent_memory_is_exit_code_1(soma_here):
    result = soma_here("get", "1,2")
    assert (result.exit_code, result.stderr) == (1, "Error: coord: there is no memory at 1.0,2.0\n")


def test_forget_deletes_what_is_there_and_reports_what_is_not(soma_here, service):
    soma_here("store", "--coord", "1", "--payload", "{}")
    soma_here("store", "--coord", "3", "--payload", "{}")
    result = soma_here("forget", "1", "2", "3")
    assert (result.exit_code, result.stdout, service.memories) == (1, "Deleted 1.0.\nDeleted 3.0.\n", {})
    assert result.stderr == "There is no memory at 2.0.\n"
    assert json.loads(soma_here("forget", "1", "-o", "json").stdout) == {"deleted": [], "missing": [[1.0]]}


def test_stats_are_shown_by_dotted_name(soma_here):
    assert soma_here("stats").stdout == "memories\t0\ndatabase.reachable\ttrue\n"
    assert json.loads(soma_here("stats", "-o", "json").stdout) == {"memories": 0, "database": {"reachable": True}}


# --- recall ---


def test_recall_shows_score_origin_and_text(soma_here):
    soma_here("store", "--coord", "1,2", "--payload", '{"text": "by\\nhand"}')
    soma_here("store", "--coord", "3", "--payload", '{"text": "from a file", "source": "a b.md", "line": 7}')
    soma_here("store", "--coord", "4", "--payload", '{"who": "Ada"}')
    result = soma_here("recall", "what", "is", "it?")
    assert result.stdout == '0.500\t1.0,2.0\tby hand\n0.500\ta b.md:7\tfrom a file\n0.500\t4.0\t{"who": "Ada"}\n'


def test_recall_asks_what_it_was_told_to(soma_here, service):
    soma_here(
        *("recall", "q", "--top-k", "5", "--type", "episodic", "--scoring", "classic", "--explain"),
        *("--filter", "year=2024", "--filter", "tag=a=b", "--filter", 'n="7"', "--filter", "x=NaN", "--filter", "e="),
    )
    assert service.calls("POST", "/recall")[0].json == {
        "query": "q",
        "top_k": 5,
        "type": "episodic",
        "scoring": "classic",
        "explain": True,
        "filters": {"year": 2024, "tag": "a=b", "n": "7", "x": "NaN", "e": ""},
    }


def test_explain_shows_the_parts_of_the_score(soma_here):
    soma_here("store", "--coord", "1", "--payload", '{"text": "t"}')
    assert soma_here("recall", "q", "--explain").stdout == "0.500\t1.0\tt\tdense=0.250\n"


def test_no_match_is_said_on_stderr_and_is_no_failure(soma_here):
    result = soma_here("recall", "q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No memory matches.\n")
    assert json.loads(soma_here("recall", "q", "-o", "json").stdout) == {"matches": [], "token": "t3"}


def test_text_of_memories_cannot_steer_the_terminal(soma_here):
    soma_here("store", "--coord", "1", "--payload", json.dumps({"text": "a\x1b[2Jb", "source": "x\x9b31m"}))
    output = soma_here("recall", "q").stdout
    assert "\x1b" not in output and "\x9b" not in output


def test_a_lone_surrogate_in_an_answer_is_still_json(soma_here, service):
    service.answers_first = [(200, {"matches": [], "note": "\ud800"}, {})]
    assert json.loads(soma_here("recall", "q", "-o", "json").stdout)["note"] == "\ud800"


# --- input that cannot work: exit code 2, nothing sent ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["store", "--coord", "1,x", "--payload", "{}"], "--coord: 'x' is not a finite number"),
        (["store", "--coord", "1", "--payload", "[]"], "--payload: a payload is a JSON object"),
        (["store", "--coord", "1", "--payload", "{"], "--payload: not JSON"),
        (["store", "--coord", "1", "--payload", "[" * 100_000], "--payload: not JSON"),
        (["store", "--coord", "1", "--payload", r'{"text": "\ud800"}'], "lone surrogate"),
        (["store", "--coord", "1", "--payload", '{"n": 1e999}'], "NaN or infinite"),
        (["store", "--coord", "1", "--payload", "{}", "--importance", "-1"], "--importance"),
        (["recall", "\udcff"], "lone surrogate"),
        (["recall", "q", "--filter", "key"], "--filter: 'key' is not KEY=VALUE"),
        (["recall", "q", "--top-k", "0"], "--top-k"),
        (["get", "--nonsense"], "COORD: '--nonsense' is not a finite number"),
        (["stats", "--url", "nonsense"], "--url: 'nonsense' is not an address"),
        (["stats", "--token", "a", "--token-file", "b"], "not both"),
        (["nonsense"], "No such command"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_unusable_input_is_exit_code_2_and_nothing_is_sent(soma_here, service, arguments, message):
    result = soma_here(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert service.requests == []


# --- failures of the service ---


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, 2, "Error: no good"),
        (422, 2, "Error: no good"),
        (401, 4, "--token-file"),
        (403, 4, "a token that may do this"),
        (404, 1, "Error: no good"),
        (409, 1, "Error: no good"),
        (500, 1, "Error: no good"),
    ],
)
def test_each_failure_has_its_exit_code_and_is_not_repeated(soma_here, service, status, code, message):
    service.answers_first = [problem(status, "no good")]
    result = soma_here("stats")
    assert result.exit_code == code
    assert message in result.stderr
    assert len(service.requests) == 1


def test_the_field_to_change_is_named(soma_here, service):
    service.answers_first = [(422, {"detail": "too long", "field": "payload.text"}, {})]
    assert soma_here("recall", "q").stderr == "Error: payload.text: too long\n"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_write_is_repeated_with_its_key_until_the_service_is_back(soma_here, service, status):
    service.answers_first = [problem(status, "the database is down", **{"Retry-After": "0"})] * 3
    assert soma_here("store", "--coord", "1", "--payload", "{}").exit_code == 0
    requests = service.calls("POST", "/store")
    assert len(requests) == 4
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1


def test_a_service_that_stays_down_is_exit_code_3(soma_here, service):
    service.answers_first = [problem(503, "the database is down")] * 4
    result = soma_here("recall", "q")
    assert (result.exit_code, result.stderr) == (3, "Error: the database is down\n")


def test_no_service_at_the_address_is_exit_code_3(run):
    result = run("stats", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: cannot reach http://127.0.0.1:1 (")


def test_no_service_known_is_exit_code_3(run):
    result = run("stats")
    assert result.exit_code == 3
    assert "soma up" in result.stderr


@pytest.mark.parametrize(
    "answer",
    [(200, b"<html>", {}), (200, b"[]", {}), (200, b"\xff", {}), (301, b"", {"Location": "/else"})],
    ids=["html", "list", "bytes", "redirect"],
)
def test_another_kind_of_service_is_recognised(soma_here, service, answer):
    service.answers_first = [answer]
    result = soma_here("stats")
    assert result.exit_code == 3
    assert "does not answer like this service; check --url" in result.stderr


@pytest.mark.parametrize("body", [b"Bad gateway \xff", b'{"detail": ["odd"]}', b"[]"])
def test_a_failure_that_is_no_problem_document_is_shown_too(soma_here, service, body):
    service.answers_first = [(500, body, {})]
    result = soma_here("stats")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_a_wrong_token_is_exit_code_4(soma_here):
    result = soma_here("stats", "--token", "wrong")
    assert result.exit_code == 4
    assert "wrong" not in result.stderr


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(soma_here, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert soma_here("stats").exit_code == 0


def test_the_service_of_this_folder_is_found(run, service, folder):
    (folder / ".soma").mkdir()
    (folder / ".soma" / "token").write_text("a-token\n")
    endpoint = LocalEndpoint(endpoint=service.url, token_file=folder / ".soma" / "token", namespace="team/notes")
    write_endpoint(folder / ".soma", endpoint)
    assert run("stats").exit_code == 0


def test_on_a_terminal_answers_are_tables(soma_here, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    soma_here("store", "--coord", "1", "--payload", '{"text": "[bold]no markup[/]"}')
    shown = soma_here("recall", "q").stdout
    assert "score" in shown and "[bold]no markup[/]" in shown
    assert "payload" in soma_here("get", "1").stdout


def test_the_group_is_what_the_script_runs():
    result = CliRunner().invoke(soma, [])
    assert "Usage:" in result.output


def test_a_current_folder_that_is_gone_is_said(soma_here, folder):
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()
    result = soma_here("stats")
    assert (result.exit_code, result.stderr) == (2, "Error: the current folder no longer exists; go to another one\n")
