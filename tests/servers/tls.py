"""Certificates for tests of TLS: an authority of our own and what it signs, made with the openssl program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.servers.keeper import ServerFailed

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates(NamedTuple):
    """Files of a server's certificate and of who signed it."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *, hosts: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> Certificates:
    """A new authority, and a server's certificate for these hosts that it has signed, in an existing directory.

    Of two authorities that were made so, neither knows what the other has signed.
    """
    authority, authority_key = folder / "ca.crt", folder / "ca.key"
    made = Certificates(authority, folder / "server.crt", folder / "server.key")
    request, extensions = folder / "server.csr", folder / "server.ext"
    extensions.write_text(
        "basicConstraints = critical,CA:FALSE\n"
        "keyUsage = critical,digitalSignature\n"
        "extendedKeyUsage = serverAuth\n"
        "subjectKeyIdentifier = hash\n"
        "authorityKeyIdentifier = keyid\n"
        f"subjectAltName = {hosts}\n"
    )
    openssl("req", "-x509", *_KEY, "-keyout", authority_key, "-out", authority, "-days", days,
            "-subj", "/CN=Foldline test authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    openssl("req", "-new", *_KEY, "-keyout", made.key, "-out", request, "-subj", "/CN=127.0.0.1")
    openssl("x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-set_serial", 1,
            "-days", days, "-extfile", extensions, "-out", made.certificate)  # fmt: skip
    return made


def openssl(*arguments: object) -> None:
    """Run the openssl program."""
    program = shutil.which("openssl")
    if program is None:
        raise ServerFailed("Tests of TLS need the openssl program: install the package openssl.")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ServerFailed(f"openssl {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
