"""A certificate authority for one test session, and what it vouches for."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kafka.jars import PACKAGES, MissingPart

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
# Python 3.13 checks strictly (RFC 5280) by default, so the extensions are all there.
SERVER_EXTENSIONS = """
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True, slots=True)
class Authority:
    """A folder with ``ca.pem`` and ``ca.key``."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """What a client must trust."""
        return self.folder / "ca.pem"

    def issue(self, name: str, days: int = 2) -> Path:
        """Return a PEM file with key and certificate for this machine's loopback; -1 days make it an expired one."""
        request, key, extensions = (self.folder / f"{name}.{ending}" for ending in ("csr", "key", "ext"))
        extensions.write_text(SERVER_EXTENSIONS, encoding="ascii")
        openssl("req", "-new", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signed = self.folder / f"{name}.crt"
        signer = ("-CA", self.certificate, "-CAkey", self.folder / "ca.key", "-CAcreateserial")
        openssl("x509", "-req", "-in", request, *signer, "-days", days, "-extfile", extensions, "-out", signed)
        both = self.folder / f"{name}.pem"
        both.write_text("".join(file.read_text(encoding="ascii") for file in (key, signed, self.certificate)))
        both.chmod(0o600)
        return both


def new_authority(folder: Path) -> Authority:
    """Make an authority in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    files = ("-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    openssl("req", "-x509", *NEW_KEY, "-days", 2, "-subj", "/CN=authority of the tests", *usage, *files)
    return Authority(folder)


def openssl(*arguments: object) -> None:
    """Run the command line tool; an error shows what it said."""
    program = shutil.which("openssl")
    if program is None:
        raise MissingPart(f"certificates need openssl, and there is none: {PACKAGES}")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}"
