"""Certificates for servers in tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path, days: int = 2, name: str = "IP:127.0.0.1") -> Path:
    """Make a certificate, its own authority, for `name`; the key lies beside it as ``.key``."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate = folder / "server.crt"
    names = ["-subj", "/CN=qdrant", "-addext", f"subjectAltName={name}"]
    files = ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days), *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return certificate
