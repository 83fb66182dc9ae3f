"""The plane's certificate authority: elliptic keys, made by openssl in milliseconds."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CURVE = "prime256v1"
DAYS = "3650"
SECONDS = 30
# Python 3.13 refuses chains that lack what RFC 5280 asks for.
LEAF = (
    "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
)


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates into `folder`; a name's files are `name.crt` and `name.key`."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.crt"

    def create(self) -> None:
        """Make the authority's key and certificate, and the key pair that signs service account tokens."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        usage = "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"
        self._new_key("ca")
        self._openssl(
            "req", "-x509", "-key", "ca.key", "-subj", "/CN=test-ca", "-addext", usage, "-days", DAYS, "-out", "ca.crt"
        )
        self._new_key("service-account")
        self._openssl("ec", "-in", "service-account.key", "-pubout", "-out", "service-account.pub")

    def issue(self, name: str, common_name: str, groups: Iterable[str] = (), alternatives: Iterable[str] = ()) -> None:
        """Sign a certificate: for Kubernetes `common_name` is the user, each group one organisation.

        `alternatives` are a server's names in openssl's words: ``DNS:localhost``, ``IP:127.0.0.1``.
        """
        names = ",".join(alternatives)
        extensions = self.folder / f"{name}.cnf"
        extensions.write_text(LEAF + (f"subjectAltName={names}\n" if names else ""), "utf-8")
        self._new_key(name)
        subject = "".join(f"/O={_escaped(group)}" for group in groups) + f"/CN={_escaped(common_name)}"
        self._openssl("req", "-new", "-utf8", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
            *(
                "-set_serial",
                f"0x{secrets.token_hex(15)}",
                "-extfile",
                extensions.name,
                "-days",
                DAYS,
                "-out",
                f"{name}.crt",
            ),
        )

    def _new_key(self, name: str) -> None:
        self._openssl("ecparam", "-name", CURVE, "-genkey", "-noout", "-out", f"{name}.key")

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def _escaped(value: str) -> str:
    """Quote what separates the parts of openssl's -subj."""
    return value.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")
