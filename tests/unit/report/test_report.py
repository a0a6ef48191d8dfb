"""The archive of a node: what is in it, and that planted secrets are not, in any form."""

import base64
import json
import os
import resource
import secrets
import signal
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from rondo.cli.main import main
from rondo.config import resolve
from rondo.config.key import write_key
from rondo.config.node import NodeConfig, NotifySettings, RemoteSettings, WebSettings
from rondo.config.reader import load_text
from rondo.curve import make_key_pair
from rondo.node import journal
from rondo.node.supervision import RESOLVED_CONFIGURATION
from rondo.report.archive import write
from rondo.report.contents import FILE_BYTES_MAX, end_of
from rondo.report.secrets import LEFT_OUT, Secrets, without_options

KEY_OPTION = "k-" + secrets.token_hex(80)
PASSWORD = "hunter2-" + secrets.token_hex(8)
HOOK_PATH = f"/services/T0/{secrets.token_hex(12)}"
WEBHOOK = f"https://hooks.example.org{HOOK_PATH}"
HOOK_OF_THE_FILE = f"https://hooks.example.org/services/T1/{secrets.token_hex(12)}"
"""The file was changed after the node had been started with it."""
CONFIGURATION = """\
totem {{
    version: 2
    transport: udpu
    token: 1234
    {key_option}
}}
nodelist {{
    node {{
        nodeid: 1
        ring0_addr: 127.0.0.1
    }}
}}
"""


class Planted:
    """A run directory in which secrets are wherever they may be, and some where they must not."""

    def __init__(self, directory: Path, *, with_key_option: bool) -> None:
        self.run_dir, self.state_dir = directory / "run", directory / "state"
        for each in (self.run_dir / "log", self.run_dir / "sam", self.state_dir / "sam"):
            each.mkdir(parents=True)
        key_file, curve_file = directory / "authkey", directory / "curve.key"
        self.key = write_key(key_file)
        self.installed = secrets.token_bytes(256)
        self.curve = make_key_pair().secret
        curve_file.write_text(f"public {secrets.token_hex(32)}\nsecret {self.curve.hex()}\n")
        ring = {"format": 1, "keys": [base64.b64encode(each).decode() for each in (self.key, self.installed)]}
        (self.state_dir / "keyring").write_text(json.dumps(ring))
        option = f"key: {KEY_OPTION}" if with_key_option else f"keyfile: {key_file}\n    secauth: on"
        text = CONFIGURATION.format(key_option=option)
        changed = f"{text}notify {{\n    webhook: {HOOK_OF_THE_FILE}\n}}\n"
        (directory / "corosync.conf").write_text(changed)
        loaded = load_text(text, str(directory / "corosync.conf"))
        config = resolve(loaded, state_dir=self.state_dir)
        remote = RemoteSettings("10.0.0.1", 5410, str(curve_file), str(directory / "clients"))
        web, notify = self.page(directory), NotifySettings(webhook=WEBHOOK)
        replace(config, remote=remote, web=web, notify=notify).save(self.run_dir / RESOLVED_CONFIGURATION)
        self.leak()

    def page(self, directory: Path) -> WebSettings:
        """The secrets of web{}."""
        token_file, tls_key = directory / "web.token", directory / "web.key"
        self.token, self.pem = secrets.token_urlsafe(32), base64.encodebytes(secrets.token_bytes(120)).decode()
        token_file.write_text(f"{self.token}\n")
        tls_key.write_text(f"-----BEGIN PRIVATE KEY-----\n{self.pem}-----END PRIVATE KEY-----\n")
        return WebSettings(enabled=True, token_file=str(token_file), tls_key=str(tls_key))

    def leak(self) -> None:
        """A log that has what no log should have; and what belongs to applications."""
        lines = [
            KEY_OPTION, self.key.hex(), self.key.hex().upper(), base64.b64encode(self.key).decode(),
            repr(self.key)[2:-1], self.installed.hex(), base64.b64encode(self.installed).decode(), self.curve.hex(),
            f"the token {self.token} is wrong", base64.b64encode(self.token.encode()).decode(), WEBHOOK,
            f"POST {HOOK_PATH} failed", f"Authorization: Basic {PASSWORD}", f"https://user:{PASSWORD}@example.org/",
            f"-----BEGIN EC PRIVATE KEY-----{PASSWORD}-----END EC PRIVATE KEY-----", *self.pem.splitlines()[:2],
            f"password={PASSWORD}", f'"password": "{PASSWORD}"', f"Passphrase: {PASSWORD}", f"api_key={PASSWORD}",
        ]  # fmt: skip
        log = "".join(f"2026-11-22T16:00:01.000+00:00 error   [TOTEM ] {line} is told\n" for line in lines)
        (self.run_dir / "log/totem.log").write_bytes(log.encode() + self.key + b"\n" + self.installed + b"\n")
        for place in (self.run_dir / "sam/server-1.out", self.state_dir / "sam/server-1", self.run_dir / "sam/table"):
            place.write_text(f"DATABASE_URL=x:{PASSWORD}@db")
        (self.run_dir / "log/link.log").symlink_to(self.state_dir / "keyring")

    def forms(self) -> list[bytes]:
        """Everything that must not be found."""
        found = [KEY_OPTION.encode(), PASSWORD.encode(), *(each.encode() for each in self.pem.splitlines()[:2])]
        found += [WEBHOOK.encode(), HOOK_PATH.encode(), HOOK_OF_THE_FILE.encode()]
        found += [self.token.encode(), base64.b64encode(self.token.encode())]
        for key in (self.key, self.installed, self.curve):
            found += [
                key,
                key.hex().encode(),
                key.hex().upper().encode(),
                base64.b64encode(key),
                repr(key)[2:-1].encode(),
            ]
        return found


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as file:
        found = {}
        for member in file.getmembers():
            extracted = file.extractfile(member)
            assert extracted is not None
            found[member.name.partition("/")[2]] = extracted.read()
        return found


@pytest.mark.parametrize("with_key_option", [False, True], ids=["key file", "key in the configuration"])
def test_no_planted_secret_is_in_the_archive(tmp_path: Path, with_key_option: bool) -> None:
    planted = Planted(tmp_path, with_key_option=with_key_option)
    archive = tmp_path / "report.tar.gz"
    assert main(["report", "--run-dir", str(planted.run_dir), "-o", str(archive)]) == 0
    found = contents(archive)
    forms = [form for form in planted.forms() if with_key_option or form != KEY_OPTION.encode()]
    for name, data in found.items():
        for form in forms:
            assert form not in data, f"{name} has {form[:16]!r}..."
    assert found["log/totem.log"].count(LEFT_OUT.encode()) >= 8
    assert "log/link.log" not in found
    assert not [name for name in found if "sam/" in name or "keyring" in name or "authkey" in name]


def test_what_is_wanted_is_in_it(tmp_path: Path) -> None:
    planted = Planted(tmp_path, with_key_option=True)
    archive = tmp_path / "report.tar.gz"
    assert main(["report", "--run-dir", str(planted.run_dir), "-o", str(archive)]) == 0
    found = contents(archive)
    assert found.keys() >= {
        "about.json", "status.json", "metrics.prom", "doctor.json", "events.jsonl", "config/resolved.json",
        "config/corosync.conf", "supervision.json", "log/totem.log",
    }  # fmt: skip
    assert json.loads(found["status.json"])["state"] == "stopped"
    assert json.loads(found["config/resolved.json"])["token_timeout_ms"] == 1234
    assert b"token: 1234" in found["config/corosync.conf"]
    assert f"key: {LEFT_OUT}".encode() in found["config/corosync.conf"]
    assert b"is told" in found["log/totem.log"]
    assert isinstance(json.loads(found["doctor.json"]), list)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600


def test_what_only_the_journal_has_is_in_it_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, archive = Planted(tmp_path, with_key_option=True), tmp_path / "report.tar.gz"
    resolved = planted.run_dir / RESOLVED_CONFIGURATION
    config = NodeConfig.read(resolved)
    to_journal = {name: replace(each, to_stderr=False, to_syslog=True) for name, each in config.logging.items()}
    replace(config, logging=to_journal).save(resolved)
    tool = tmp_path / "bin/journalctl"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "rondo[7]: $* {KEY_OPTION}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path))
    assert main(["report", "--run-dir", str(planted.run_dir), "-o", str(archive)]) == 0
    found = contents(archive)["log/journal"].decode()
    assert found.startswith("rondo[7]: --identifier=rondo ")
    assert found.endswith(f"{LEFT_OUT}\n")


def test_what_cannot_be_had_says_so_in_its_place(tmp_path: Path) -> None:
    planted = Planted(tmp_path, with_key_option=True)
    (tmp_path / "corosync.conf").unlink()
    archive = tmp_path / "report.tar.gz"
    assert main(["report", "--run-dir", str(planted.run_dir), "-o", str(archive)]) == 0
    assert b"could not be had" in contents(archive)["config/corosync.conf"]


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted = Planted(tmp_path, with_key_option=True)
    archive = tmp_path / "report.tar.gz"
    archive.write_text("mine")
    assert main(["report", "--run-dir", str(planted.run_dir), "-o", str(archive)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert archive.read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith(".")) == []


def test_an_archive_that_cannot_be_written_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = Planted(tmp_path, with_key_option=True)
    before = sorted(tmp_path.iterdir())
    nowhere = tmp_path / "none" / "report.tar.gz"
    assert main(["report", "--run-dir", str(planted.run_dir), "-o", str(nowhere)]) == 1
    wanted = "error: {}: the archive cannot be written: {}; name another file with -o\n"
    assert capsys.readouterr().err == wanted.format(nowhere, "No such file or directory")

    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    archive = tmp_path / "report.tar.gz"
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        code = main(["report", "--run-dir", str(planted.run_dir), "-o", str(archive)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 1
    assert capsys.readouterr().err == wanted.format(archive, "File too large")
    assert sorted(tmp_path.iterdir()) == before


def test_an_entry_that_fails_leaves_no_half_an_archive(tmp_path: Path) -> None:
    def entries() -> object:
        yield "one", b"1"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "x.tar.gz", entries())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_of_a_long_file_the_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "long"
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 100)
        file.seek(0, 2)
        file.write(b"the end")
    found = end_of(path)
    assert len(found) == FILE_BYTES_MAX
    assert found.endswith(b"the end")


@pytest.mark.parametrize("line", ["key: abc", "  key:abc", "api_secret: abc", "user_password: abc def"])
def test_secret_options_lose_their_value(line: str) -> None:
    assert b"abc" not in without_options(line.encode())


def test_an_address_keeps_what_is_no_secret() -> None:
    told = Secrets([]).cut(b"GET https://user:abcdefgh@example.org:5480/x and http://127.0.0.1:5480/ are asked")
    assert told == b"GET https://user:[left out]@example.org:5480/x and http://127.0.0.1:5480/ are asked"


@pytest.mark.parametrize("line", ["keyfile: /etc/corosync/authkey", "token: 1000", "secauth: on", "# a key"])
def test_others_keep_it(line: str) -> None:
    assert without_options(line.encode()) == line.encode()


def test_what_is_short_is_no_secret() -> None:
    assert Secrets([b"1"]).cut(b"ring 1 of 1") == b"ring 1 of 1"
