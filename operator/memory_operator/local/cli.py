"""The commands of local mode: ``soma up | apply | status | logs | down``.

Modules that are slow to import are imported by the command that needs them, for every `soma` command loads this one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from memory_contracts.errors import PlatformError, Rejected

if TYPE_CHECKING:
    from memory_contracts.v1alpha1 import MemoryNamespace
    from memory_operator.local.control import Failure
    from memory_operator.local.report import Report
    from memory_operator.local.state import LocalOptions, LocalStatus, StateDirectory

FAILED, USAGE = 1, 2
OWN_PACKAGES = ("memory_contracts", "memory_operator", "memory_runtime")
DEFAULT_TIMEOUT = 60.0

file_option = click.option(
    "-f", "--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="YAML with one MemoryNamespace."
)
timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0), default=DEFAULT_TIMEOUT, show_default=True, help="Seconds to wait."
)


def state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--state-dir``."""
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Where data, secrets and logs are kept; default .soma, here or in a folder above.",
    )(command)


def told_in_a_sentence(command: Callable[..., Any]) -> Callable[..., Any]:
    """End with one sentence and an exit code when the command raises one of our errors: 2 for bad input, else 1."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except PlatformError as error:
            click.echo(f"Error: {error.detail}", err=True)
            raise click.exceptions.Exit(USAGE if isinstance(error, Rejected) else FAILED) from None
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in OWN_PACKAGES:  # a defect, and no matter of extras
                raise
            remedy = "pip install 'memory-operator[local]'"
            click.echo(f"Error: this needs {missing}, which is not installed here; {remedy}", err=True)
            raise click.exceptions.Exit(USAGE) from None

    return run


@click.command()
@file_option
@click.option("-d", "--detach", is_flag=True, help="Serve in the background; return when it is ready.")
@state_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the API; the next free one if taken.  [9595]")
@click.option("--postgres-url", metavar="URL", help="Administrator's address of a Postgres to use instead of an own.")
@timeout_option
@told_in_a_sentence
def up(
    *,
    file: Path | None,
    detach: bool,
    state_dir: Path | None,
    port: int | None,
    postgres_url: str | None,
    timeout: float,
) -> None:
    """Serve a memory namespace on this machine.

    Runs until Ctrl-C or, with --detach, until `soma down`. Data stays in .soma: a later `soma up` continues with it,
    on the same port and database unless told otherwise.
    """
    state = _state(state_dir, search=False)
    namespace = _namespace(state, file)
    options = _options(state, port, postgres_url)
    running = state.supervisor() is not None
    if running and options != state.read_options():
        raise Rejected("it runs already, with another port or database; stop it first: soma down")
    state.prepare()
    accepted = _accept(state, namespace)
    state.write_options(options)
    if running:
        _wait(state, accepted, timeout)
    elif detach:
        _start(state, accepted, timeout)
    else:
        _serve_here(state, options)


@click.command()
@file_option
@state_option
@timeout_option
@told_in_a_sentence
def apply(file: Path | None, state_dir: Path | None, timeout: float) -> None:
    """Change what is served, and wait until it is so."""
    if file is None:
        raise Rejected("which file? give -f FILE")
    state = _state(state_dir)
    namespace = _namespace(state, file)
    if state.supervisor() is None:
        raise PlatformError(f"nothing runs from {state.path}; start it with: soma up -f {file}")
    _wait(state, _accept(state, namespace), timeout)


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="For people or programs.")
@state_option
@told_in_a_sentence
def status(output: str, state_dir: Path | None) -> None:
    """Show what runs. Exits with 0 when it is ready, else with 1."""
    import json  # noqa: PLC0415

    from memory_operator.local.report import observe, table  # noqa: PLC0415

    report = observe(_state(state_dir))
    click.echo(json.dumps(report.as_json(), indent=2) if output == "json" else "\n".join(table(report)))
    if not report.ready:
        raise click.exceptions.Exit(FAILED)


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is written.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Last lines to show.")
@state_option
@told_in_a_sentence
def logs(name: str | None, follow: bool, lines: int, state_dir: Path | None) -> None:
    """Show logs.

    NAME is api, api-2, …, postgres or supervisor; without it, all logs are shown.
    """
    from memory_operator.local.log_view import show_ends, show_growth  # noqa: PLC0415

    state = _state(state_dir)
    found = {each.stem: each for each in sorted(state.logs.glob("*.log"))}
    if name is not None and name not in found:
        raise Rejected(f"no log is called {name!r}; there are: {', '.join(found) or 'none, nothing ran here yet'}")
    chosen = {name: found[name]} if name is not None else found
    offsets = show_ends(chosen, lines, click.echo)
    if follow:
        show_growth(chosen, offsets, click.echo)


@click.command()
@click.option("--purge", is_flag=True, help="Then delete the memories, too.")
@state_option
@told_in_a_sentence
def down(purge: bool, state_dir: Path | None) -> None:
    """Stop what runs. The memories stay unless --purge is given."""
    from memory_operator.local.control import stop_supervisor  # noqa: PLC0415
    from memory_operator.local.supervisor import end_leftovers  # noqa: PLC0415

    state = _state(state_dir)
    stopped = stop_supervisor(state)
    end_leftovers(state)
    state.forget_endpoint()
    click.echo("stopped" if stopped else f"nothing runs from {state.path}")
    if purge:
        _purge(state)


commands: tuple[click.Command, ...] = (up, apply, status, logs, down)


def _state(directory: Path | None, search: bool = True) -> StateDirectory:
    from memory_contracts.local import STATE_DIRECTORY  # noqa: PLC0415
    from memory_operator.local.state import StateDirectory, find_state  # noqa: PLC0415

    if directory is not None:
        return StateDirectory(directory)
    return StateDirectory(find_state(Path.cwd()) if search else Path.cwd() / STATE_DIRECTORY)


def _namespace(state: StateDirectory, file: Path | None) -> MemoryNamespace:
    from memory_operator.local.resources import load_namespace  # noqa: PLC0415

    namespace = load_namespace(file) if file else state.desired()
    if namespace is None:
        raise Rejected("what shall be served? give -f FILE; examples/namespace.yaml is one")
    return namespace


def _accept(state: StateDirectory, namespace: MemoryNamespace) -> MemoryNamespace:
    from memory_operator.local.resources import notices  # noqa: PLC0415

    accepted = state.accept(namespace)
    for sentence in notices(accepted):
        click.echo(sentence)
    return accepted


def _options(state: StateDirectory, port: int | None, postgres_url: str | None) -> LocalOptions:
    from memory_operator.local.database import parse_admin_url  # noqa: PLC0415

    if postgres_url:
        parse_admin_url(postgres_url)
    given = {"port": port, "postgres_url": postgres_url}
    return state.read_options().model_copy(update={name: value for name, value in given.items() if value is not None})


def _serve_here(state: StateDirectory, options: LocalOptions) -> None:
    import asyncio  # noqa: PLC0415

    from memory_operator.local.supervisor import serve  # noqa: PLC0415

    asyncio.run(serve(state, options, _Teller(state)))
    click.echo("stopped")


class _Teller:
    """Tells a person what turns, and how to use it once it is ready."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._told: list[Any] = []
        self._greeted = False

    def __call__(self, status: LocalStatus) -> None:
        from memory_operator.local.report import changes  # noqa: PLC0415
        from memory_operator.status import is_ready  # noqa: PLC0415

        conditions, endpoint = status.namespace.conditions, status.namespace.endpoint
        for line in changes(self._told, conditions):
            click.echo(line)
        self._told = conditions
        desired = self._state.desired()
        if desired and endpoint and not self._greeted and is_ready(conditions):
            self._greeted = True
            _greet(self._state, endpoint, str(self._state.token_file(desired.metadata.name)))
            click.echo("\nCtrl-C stops it.")


def _start(state: StateDirectory, accepted: MemoryNamespace, timeout: float) -> None:
    from memory_operator.local.control import start_detached, stop_supervisor, wait_until_ready  # noqa: PLC0415
    from memory_operator.local.report import Report  # noqa: PLC0415

    child = start_detached(state)
    outcome = wait_until_ready(state, accepted.metadata.generation, timeout, click.echo, child)
    if isinstance(outcome, Report):
        _greet_about(state, outcome)
        return
    serving = state.supervisor()
    if serving and serving.pid == child.pid:  # not one that another `up` started at the same moment
        stop_supervisor(state)
    _fail(outcome)


def _wait(state: StateDirectory, accepted: MemoryNamespace, timeout: float) -> None:
    from memory_operator.local.control import wait_until_ready  # noqa: PLC0415
    from memory_operator.local.report import Report  # noqa: PLC0415

    outcome = wait_until_ready(state, accepted.metadata.generation, timeout, click.echo)
    if isinstance(outcome, Report):
        _greet_about(state, outcome)
    else:
        _fail(outcome)


def _fail(failure: Failure) -> NoReturn:
    click.echo(f"Error: {failure.sentence}\n\n{failure.log}", err=True)
    raise click.exceptions.Exit(FAILED)


def _greet_about(state: StateDirectory, report: Report) -> None:
    if report.endpoint and report.token_file:  # not while it is Fenced or Hibernated
        _greet(state, report.endpoint, report.token_file)


def _greet(state: StateDirectory, endpoint: str, token_file: str) -> None:
    from memory_operator.local.greeting import greeting  # noqa: PLC0415

    nearest = _state(None).path == state.path
    wanted = state.read_options().port
    click.echo(greeting(endpoint, token_file, wanted_port=wanted, found_by_itself=nearest))


def _purge(state: StateDirectory) -> None:
    from memory_operator.local.farewell import leave_given_database  # noqa: PLC0415
    from memory_operator.local.postgres_server import purge_data  # noqa: PLC0415

    given = state.read_options().postgres_url
    told = f"; {leave_given_database(state, given)}" if given else ""
    purge_data(state.postgres)
    state.purge()
    click.echo(f"deleted {state.path}{told}")
