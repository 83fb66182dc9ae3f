"""By hand: ``PYTHONPATH=tests/support python -m controlplane up --dir DIR``, then ``down --dir DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from controlplane import binaries
from controlplane.layout import record_of
from controlplane.missing import Missing
from controlplane.plane import ControlPlane
from controlplane.readiness import PlaneFailed


def main() -> None:
    """Do one action; a sentence and status 1 when it cannot be done."""
    options = _parser().parse_args()
    try:
        if options.action == "build":
            build(node=options.node)
        else:
            act(options)
    except (Missing, PlaneFailed, TimeoutError, ValueError) as error:
        sys.exit(str(error))


def act(options: argparse.Namespace) -> None:
    """Do what is done to one plane."""
    if options.action not in {"up", "purge"} and not record_of(options.dir).exists():
        raise ValueError(f"there is no plane in {options.dir}; `up` makes one")
    ACTIONS[options.action][1](ControlPlane(options.dir), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="controlplane", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    compiling = actions.add_parser("build", help="compile everything into the cache")
    compiling.add_argument("--node", action="store_true", help="also what a node needs")
    for name, (text, _) in ACTIONS.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("--dir", type=Path, required=True, help="where everything of the plane lives")
        if name == "up":
            action.add_argument("--node", action="store_true", help="also a node that runs pods (root)")
            action.add_argument("--audit", action="store_true", help="record every request in logs/audit.log")
            action.add_argument("--bare", action="store_true", help="etcd and the API server only")
            action.add_argument("--api-server-flag", action="append", default=[], metavar="FLAG", help="repeatable")
        elif name in {"kill", "start", "load"}:
            action.add_argument("what", metavar="WHAT")
    return parser


def up(plane: ControlPlane, options: argparse.Namespace) -> None:
    """Start it and say where it is."""
    flags = options.api_server_flag
    plane.up(node=options.node, audit=options.audit, bare=options.bare, api_server_flags=flags)
    print(f"KUBECONFIG={plane.kubeconfig}")


def show(plane: ControlPlane) -> None:
    """Print one line a component."""
    for name, pid in plane.status().items():
        print(f"{name:26}{f'pid {pid}' if pid else 'stopped'}")


def build(*, node: bool) -> None:
    """Compile what is not in the cache yet."""
    for name in (*binaries.ESSENTIAL, *binaries.CONTROLLERS, *(binaries.NODE if node else ())):
        print(binaries.build(name))


ACTIONS: dict[str, tuple[str, Callable[[ControlPlane, argparse.Namespace], None]]] = {
    "up": ("start a plane, or go on with one that is down", up),
    "down": ("stop it; its data stays", lambda plane, _: plane.down()),
    "purge": ("stop it and remove its directory", lambda plane, _: plane.purge()),
    "kill": ("SIGKILL one component", lambda plane, options: plane.kill(options.what)),
    "start": ("start one component again", lambda plane, options: plane.start(options.what)),
    "load": ("put an image (docker save) into the node", lambda plane, options: plane.load(Path(options.what))),
    "status": ("show the components", lambda plane, _: show(plane)),
}


if __name__ == "__main__":
    main()
