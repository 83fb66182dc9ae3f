"""``memory-operator``: run the operator, or show what it would do."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from memory_contracts.errors import PlatformError
from memory_operator.controller.logs import configure_logging

ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
LEVELS = click.Choice(["debug", "info", "warning", "error"])


def default_namespace() -> str:
    """Return the namespace of the pod, or ``default`` outside of one."""
    if given := os.environ.get("POD_NAMESPACE"):
        return given
    return ACCOUNT_NAMESPACE.read_text().strip() if ACCOUNT_NAMESPACE.is_file() else "default"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="memory-operator")
def main() -> None:
    """Turn MemoryClusters and MemoryNamespaces into running memory services."""


@main.command()
@click.option("--namespace", default=default_namespace, help="Where the Lease is; the pod's own namespace.")
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port of /healthz, /readyz and /metrics; 0: any.",
)
@click.option("--log-level", type=LEVELS, default="info", show_default=True, help="Least severe event that is logged.")
def run(namespace: str, health_port: int, log_level: str) -> None:
    """Run the operator.

    The API server is the one of KUBECONFIG, or that of the pod's service account. Of several replicas one leads.
    """
    from memory_operator.shell.serve import Options, serve  # noqa: PLC0415 - `plan --help` needs none of it

    configure_logging(log_level)
    try:
        # uvloop is faster, but aborts the process when aiohttp gives up a connection at the wrong moment.
        ended_well = asyncio.run(serve(Options(namespace, health_port)))
    except PlatformError as error:
        raise click.ClickException(error.detail) from None
    sys.exit(0 if ended_well else 1)


@main.command()
@click.option(
    "-f",
    "--filename",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="A file with MemoryNamespaces, and MemoryClusters if they are new.",
)
def plan(file: Path) -> None:
    """Show the steps that the operator would take for the objects in a file, and take none.

    Reads Kubernetes and the backends with your KUBECONFIG. Exit code 0: nothing to do, 2: there are steps,
    1: something stands in the way.

    \b
    Example:
      memory-operator plan -f examples/namespace.yaml
    """
    from memory_operator.shell.dry_run import plan_file  # noqa: PLC0415 - nor does `run --help`

    configure_logging("error")
    try:
        plans = asyncio.run(plan_file(file))
    except PlatformError as error:
        raise click.ClickException(error.detail) from None
    for each in plans:
        click.echo(each.name)
        for step in each.steps:
            click.echo(f"  + {step}")
        for problem in each.problems:
            click.echo(f"  ! {problem}")
        if not each.steps and not each.problems:
            click.echo("  nothing to do")
    sys.exit(1 if any(each.problems for each in plans) else 2 if any(each.steps for each in plans) else 0)


if __name__ == "__main__":
    main()
