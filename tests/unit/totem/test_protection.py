"""From the configuration to keys, and from refusals to log lines."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import Counter
from pathlib import Path

import pytest

from rondo import config
from rondo.config import ConfigError, NodeConfig
from rondo.config.key import fingerprint, read_key, write_key
from rondo.config.node import SecuritySettings
from services.totem.protection import Protection, make_protection
from services.totem.ring.options import MTU_OVERHEAD
from services.totem.security.suites import SUITES
from services.totem.settings import ring_options
from services.totem.transport.base import TransportSettings
from services.totem.transport.udpu import UdpuTransport
from services.totem.wire.base import RingId
from services.totem.wire.frames import encode_mcast

IP_AND_UDP = 28


def node_config(directory: Path, settings: SecuritySettings) -> NodeConfig:
    """A configuration of two nodes with these settings."""
    file = directory / "corosync.conf"
    nodes = "".join(f"  node {{\n    ring0_addr: 127.0.0.{n}\n    nodeid: {n}\n  }}\n" for n in (1, 2))
    file.write_text(
        f"totem {{\n  version: 2\n  cluster_name: test\n  transport: udpu\n  secauth: off\n}}\nnodelist {{\n{nodes}}}\n"
    )
    resolved = config.resolve(config.load(str(file), node_id=1), state_dir=directory)
    return dataclasses.replace(resolved, security=settings)


def protection(directory: Path, settings: SecuritySettings) -> Protection:
    made = make_protection(node_config(directory, settings))
    assert made is not None
    return made


def test_switched_off_it_is_not_there(tmp_path: Path) -> None:
    assert make_protection(node_config(tmp_path, SecuritySettings())) is None


def test_the_key_comes_from_the_file_or_from_the_configuration(tmp_path: Path) -> None:
    key = write_key(tmp_path / "authkey")
    for settings in (
        SecuritySettings("aes256", "sha1", str(tmp_path / "authkey")),
        SecuritySettings("aes256", "sha1", key=key),
    ):
        made = protection(tmp_path, settings)
        assert made.status()["key_fingerprint"] == fingerprint(key)
        assert made.status()["suite"] == "aes256/sha1"
        assert made.overhead_bytes == SUITES["aes256", "sha1"].overhead_bytes


def test_only_a_node_without_configuration_makes_its_own_key(tmp_path: Path) -> None:
    path = tmp_path / "authkey"
    settings = SecuritySettings("aes256-gcm", "none", str(path))
    with pytest.raises(ConfigError, match="rondo keygen --key-file"):
        protection(tmp_path, settings)
    assert not path.exists()
    settings = dataclasses.replace(settings, key_created_if_missing=True)
    first = protection(tmp_path, settings)
    assert path.stat().st_mode & 0o777 == 0o400
    assert protection(tmp_path, settings).key_fingerprint == first.key_fingerprint == fingerprint(read_key(path))
    path.chmod(0o666)
    with pytest.raises(ConfigError, match=f"totem.keyfile: {path}: others have access"):
        protection(tmp_path, settings)
    nowhere = dataclasses.replace(settings, key_file=str(tmp_path / "no" / "directory"))
    with pytest.raises(ConfigError, match="no key can be made"):
        protection(tmp_path, nowhere)


def test_suites_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="aes256 and crypto_hash none do not go together; write crypto_cipher: "):
        protection(tmp_path, SecuritySettings("aes256", "none", key=bytes(128)))


@pytest.mark.parametrize("suite", SUITES, ids=lambda names: "/".join(names))
def test_a_full_packet_fits_netmtu_even_wrapped_for_recovery(tmp_path: Path, suite: tuple[str, str]) -> None:
    settings = SecuritySettings(*suite, key=bytes(range(128)))  # type: ignore[arg-type]
    made = protection(tmp_path, settings)
    resolved = node_config(tmp_path, settings)
    packet = bytes(ring_options(resolved, made.overhead_bytes).packet_size_max)
    inner = encode_mcast(1, 1, 1, RingId(1, 4), packet)
    assert len(inner) - len(packet) == MTU_OVERHEAD // 2
    wrapped = encode_mcast(1, 1, 1, RingId(1, 8), inner)
    assert resolved.netmtu - 16 < len(made.seal(wrapped)) + IP_AND_UDP <= resolved.netmtu


class Transport(UdpuTransport):
    """Notes replies in place of sending them."""

    def __init__(self) -> None:
        self.settings, self.counters = TransportSettings(1), Counter()
        self._addresses = {}
        self.replies: list[tuple[int, str]] = []

    def reply(self, node: int, source: str, datagram: bytes) -> None:
        self.replies.append((node, source))


def test_refusals_are_logged_with_their_source_and_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = SecuritySettings("aes256-gcm", "none", key=bytes(range(128)))
    two = dataclasses.replace(node_config(tmp_path, key), node_id=2)
    sender = make_protection(two)
    assert sender is not None
    transport = Transport()
    receiver = protection(tmp_path, key)
    stranger = protection(tmp_path, dataclasses.replace(key, key=os.urandom(128)))
    datagrams = [(stranger.seal(b"frame"), (f"127.0.0.{2 + number % 2}", 5405)) for number in range(10)]
    with caplog.at_level(logging.WARNING, "TOTEM"):
        assert receiver.open([*datagrams, (sender.seal(b"frame"), ("127.0.0.2", 9))], transport, 0) == []
    assert transport.replies == [(2, "127.0.0.2")]
    assert [record.getMessage() for record in caplog.records] == [
        f"Received message has invalid digest... ignoring. It came from 127.0.0.{number}: it was made with another "
        "key, or altered; compare the fingerprints of the keys."
        for number in (2, 3)
    ]
