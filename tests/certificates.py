"""Certificates for tests, made by the openssl program: authorities, servers, clients."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

SERVER_NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Signs certificates; `ca` is its own."""

    folder: Path
    name: str

    @property
    def ca(self) -> Path:
        return self.folder / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.name}.key"

    def issue(self, name: str, names: str = SERVER_NAMES, days: int = 30) -> Certificate:
        """Return a new certificate for these names; with negative days it has ended."""
        made = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
            "keyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        _openssl("req", "-new", *_NEW_KEY, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        signed = ("-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-extfile", extensions, "-days", days)
        _openssl("x509", "-req", "-in", request, "-out", made.certificate, *signed)
        made.key.chmod(0o600)
        return made


def authority(folder: Path, name: str = "ca") -> Authority:
    """Return a new authority that keeps its files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Authority(folder, name)
    _openssl(
        *("req", "-x509", *_NEW_KEY, "-keyout", made.key, "-out", made.ca, "-days", "30", "-subj", f"/CN=test {name}"),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    return made


def replace_pair(served: Certificate, other: Certificate) -> None:
    """Put another pair in place of what is served, certificate first, as a renewal does."""
    for new, old in ((other.certificate, served.certificate), (other.key, served.key)):
        draft = old.with_suffix(".new")
        draft.write_bytes(new.read_bytes())
        draft.chmod(0o600)
        draft.replace(old)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: object) -> None:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"OPENSSL_CONF": ""})
    assert done.returncode == 0, f"{command}: {done.stderr}"
