"""The token and the certificate of the pages in docker-compose.yml: python page_secrets.py DIRECTORY NAME ...

Made once, for all nodes: web.token, web.crt (signed by itself, for these names and addresses) and web.key. What is
there stays, so that nodes that run and Prometheus go on knowing each other.
"""

import datetime
import ipaddress
import os
import secrets
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAYS = 3650
TOKEN_BYTES = 32


def write(path: Path, data: bytes) -> None:
    """For the owner alone, whole or not at all."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    made.rename(path)


def general_name(name: str) -> x509.GeneralName:
    """An address or a name of the certificate."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def certificate(names: list[str]) -> tuple[bytes, bytes]:
    """The certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rondo compose")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return made.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


def main(directory: Path, names: list[str]) -> None:
    """Make what is not there yet. The certificate is written last: where it is, its key is, too."""
    if not (directory / "web.token").exists():
        write(directory / "web.token", f"{secrets.token_hex(TOKEN_BYTES)}\n".encode())
    if not (directory / "web.crt").exists():
        public, private = certificate(names)
        write(directory / "web.key", private)
        write(directory / "web.crt", public)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
