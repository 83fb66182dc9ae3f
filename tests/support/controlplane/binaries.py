"""The programs of Kubernetes: from KUBEBUILDER_ASSETS, from the cache, or compiled from Go modules into the cache.

KUBEBUILDER_ASSETS is envtest's convention: a folder with `etcd` and `kube-apiserver`, perhaps `kubectl`. When it is
set, nothing else is used, so that versions never mix; a plane then runs with the parts that are there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from controlplane.missing import Missing

KUBERNETES = "1.34.4"  # the last minor whose kubelet starts on cgroup v1 without being told to
COREDNS = "github.com/coredns/coredns@v1.15.0"
MODULES = Path(__file__).with_name("go")
ESSENTIAL = ("etcd", "kube-apiserver")
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
NODE = ("kubelet", "kube-proxy", "coredns")
BUILD_SECONDS = 1800
BUILDING = "building-"


def cache() -> Path:
    """Return the folder that keeps what is costly to make; all checkouts on a machine share it."""
    return Path(os.environ.get("SOMA_CACHE") or Path.home() / ".cache" / "soma-test")


def cached(name: str) -> Path:
    """Return where the cache keeps a program, whether it is there or not."""
    return cache() / f"kubernetes-{KUBERNETES}" / "bin" / name


def locate(names: Iterable[str]) -> dict[str, Path]:
    """Return the path of each program; from KUBEBUILDER_ASSETS only those that are there.

    Raises:
        Missing: a program that no plane can do without is not here, and cannot be compiled here.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    return _from_assets(Path(assets), names) if assets else {name: build(name) for name in names}


def _from_assets(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    if absent := [name for name in ESSENTIAL if not (folder / name).is_file()]:
        raise Missing(f"KUBEBUILDER_ASSETS={folder} holds no {' and no '.join(absent)}; unset it, or set it right")
    return {name: folder / name for name in names if (folder / name).is_file()}


def build(name: str) -> Path:
    """Return the program in the cache, compiled first when it is not there.

    Raises:
        Missing: it is not there and there is no Go, or Go could not compile it.
    """
    target = cached(name)
    if target.is_file():
        return target
    if shutil.which("go") is None:
        raise Missing(
            f"there is no {name}: install Go 1.24 or newer (it is then compiled once, 5 minutes for all parts), "
            "or set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver"
        )
    with _builder(target.parent):
        if not target.is_file():
            _compile(name, target)
    return target


@contextmanager
def _builder(folder: Path) -> Iterator[None]:
    """One build at a time on this machine; the others wait and find the result."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for abandoned in folder.glob(f"{BUILDING}*"):
            shutil.rmtree(abandoned)
        yield


def _compile(name: str, target: Path) -> None:
    print(f"compiling {name} into {target.parent} (once) …", file=sys.stderr, flush=True)
    with TemporaryDirectory(prefix=BUILDING, dir=target.parent) as folder:
        command, where, variables = _recipe(name, Path(folder))
        done = subprocess.run(
            command,
            cwd=where,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Missing(f"Go could not compile {name}: {done.stderr.strip()[-2000:]}")
        Path(folder, name).rename(target)


def _recipe(name: str, folder: Path) -> tuple[list[str], Path, dict[str, str]]:
    """Return the command, its directory and its environment; the program comes to lie in `folder`."""
    if name == "coredns":
        return ["go", "install", "-trimpath", "-ldflags=-s -w", COREDNS], folder, {"GOBIN": str(folder)}
    build_command = ["go", "build", "-mod=readonly", "-trimpath", "-o", str(folder / name)]
    if name == "etcd":
        return [*build_command, "-ldflags=-s -w", "go.etcd.io/etcd/server/v3"], MODULES / "etcd", {}
    return [*build_command, f"-ldflags={_version_flags()}", f"k8s.io/kubernetes/cmd/{name}"], MODULES / "kubernetes", {}


def _version_flags() -> str:
    """The linker's arguments that Kubernetes' own build sets; without them the API server calls itself v0.0.0."""
    major, minor, _ = KUBERNETES.split(".")
    facts = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "0" * 40,
        "buildDate": "2026-01-01T00:00:00Z",
    }
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in facts.items())
