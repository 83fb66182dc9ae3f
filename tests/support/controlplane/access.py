"""Kubeconfig files, and a plain HTTP client that obeys one."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import yaml

SECONDS = 30.0


class Refused(RuntimeError):
    """The API server answered with an error; the message has its own sentence."""


def write_kubeconfig(path: Path, server: str, authority: Path, user: dict[str, str]) -> Path:
    """Write a kubeconfig with one context; `user` holds the fields of its user entry."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return path


def read_kubeconfig(kubeconfig: Path) -> tuple[str, ssl.SSLContext, dict[str, str]]:
    """Return the server's URL, how to speak TLS with it as the user of `kubeconfig`, and the headers that say who."""
    config = yaml.safe_load(kubeconfig.read_text("utf-8"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    if "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    return cluster["server"], context, {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}


def connect(kubeconfig: Path, seconds: float = SECONDS) -> httpx.Client:
    """Return a client of the API server that `kubeconfig` names, as its user; the caller closes it."""
    server, context, headers = read_kubeconfig(kubeconfig)
    return httpx.Client(base_url=server, verify=context, headers=headers, timeout=seconds, trust_env=False)


def answer(response: httpx.Response) -> Any:
    """Return the object that the API server sent.

    Raises:
        Refused: the server did not do it.
    """
    if response.is_error:
        raise Refused(f"{response.request.method} {response.request.url.path}: {response.text.strip()}")
    return response.json()
