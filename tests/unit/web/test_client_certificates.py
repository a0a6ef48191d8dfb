"""Clients that show who they are by a certificate: the alternative to a token."""

import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from rondo.cli.main import main
from services.web.server import Options, WebError, check
from tests.unit.web.server import serving

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


@dataclass(frozen=True)
class Authority:
    """Somebody who signs certificates, with openssl."""

    directory: Path
    name: str

    @property
    def certificate(self) -> str:
        return str(self.directory / f"{self.name}.pem")

    def make(self) -> "Authority":
        _openssl(self.directory, "req", "-x509", *EC, "-keyout", f"{self.name}.key", "-out", f"{self.name}.pem",
                 "-subj", f"/CN={self.name}")  # fmt: skip
        return self

    def sign(self, name: str) -> tuple[str, str]:
        """The files of a certificate for 127.0.0.1 and its key."""
        subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        signer = ["-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key"]
        _openssl(
            self.directory, "req", "-x509", *EC, *signer, "-keyout", f"{name}.key", "-out", f"{name}.pem", *subject
        )
        return str(self.directory / f"{name}.pem"), str(self.directory / f"{name}.key")


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def get(port: int, trusted: Authority, own: tuple[str, str] | None) -> bytes:
    context = ssl.create_default_context(cafile=trusted.certificate)
    if own is not None:
        context.load_cert_chain(*own)
    url = f"https://127.0.0.1:{port}/healthz"
    request = urllib.request.Request(url)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    return body


def test_only_who_has_a_certificate_of_theirs_is_let_in(tmp_path: Path) -> None:
    authority, another = Authority(tmp_path, "authority").make(), Authority(tmp_path, "another").make()
    certificate, key = authority.sign("server")
    files = ("--tls-cert", certificate, "--tls-key", key, "--tls-clients", authority.certificate)
    (tmp_path / "log").mkdir()
    with serving(tmp_path, *files) as server:
        assert get(server.port, authority, authority.sign("client")) == b"not well\n"
        for wrong in (None, another.sign("stranger")):
            with pytest.raises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
                get(server.port, authority, wrong)
        assert get(server.port, authority, authority.sign("next")) == b"not well\n"


def test_they_are_enough_beyond_loopback(tmp_path: Path) -> None:
    check(Options(tmp_path, host="10.0.0.1", tls_cert="c", tls_key="k", tls_clients="ca"))
    with pytest.raises(WebError, match="with TLS alone"):
        check(Options(tmp_path, host="10.0.0.1", tls_clients="ca"))


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.pem").write_text("nothing")
    files = ["--tls-cert", str(tmp_path / "c.pem"), "--tls-key", str(tmp_path / "missing.pem")]
    assert main(["web", "--address", "127.0.0.1:0", "--run-dir", str(tmp_path), *files]) == 1
    assert "the certificate or its key cannot be used" in capsys.readouterr().err
