"""The key under knet: two at once, changed by command in a ring of Rondo nodes, and as C Corosync leads it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from rondo.config.key import fingerprint
from services.totem.keyring_file import Keys
from services.totem.knet_keys import CRYPTO_RECONFIG, PHASE_FORGET, PHASE_SWITCH, RELOAD, KnetKeys
from services.totem.transport.knet.crypto import PacketCipher, make_cipher
from services.totem.transport.knet.keyring import KEYS_MAX, Keyring

OLD, NEW = bytes(range(256)), bytes(range(255, -1, -1))
C_NODES, NODES = (1, 2), (1, 2, 3)


def cipher(key: bytes) -> PacketCipher:
    return make_cipher("aes256", "sha256", key, bytes(16))


def cfg(function: int, phase: int = 0) -> bytes:
    """A message of C Corosync's cfg, as it is on the wire."""
    size = 24 if function == CRYPTO_RECONFIG else 32
    return struct.pack("<i4xi4xI4x", 1 << 16 | function, size, phase).ljust(size, b"\0")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "authkey"
    write(path, OLD)
    return path


def write(path: Path, key: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(key)
    path.chmod(0o400)


def node(key_file: Path | str = "", *, c_nodes: tuple[int, ...] = C_NODES) -> KnetKeys:
    keys = KnetKeys(Keyring(cipher, OLD), Keys((OLD,), OLD), None, "aes256/sha256", str(key_file))
    keys.ring_changed(NODES, set(NODES) - set(c_nodes), 0)
    return keys


def taken(keys: KnetKeys) -> tuple[bool, bool]:
    """True for each of the old and the new key if packets under it are accepted."""
    return tuple(keys.keyring.open(cipher(key).seal(b"packet")) == b"packet" for key in (OLD, NEW))  # type: ignore[return-value]


def seals_with(keys: KnetKeys) -> bytes:
    sealed = keys.keyring.seal(b"packet")
    return next(key for key in (OLD, NEW) if cipher(key).open(sealed) == b"packet")


def test_two_keys_at_once() -> None:
    ring = Keyring(cipher, OLD)
    old, new = ring.key_in_use, ring.install_key(NEW)
    assert ring.install_key(NEW) == new
    assert ring.open(cipher(NEW).seal(b"x")) == b"x"
    assert cipher(OLD).open(ring.seal(b"y")) == b"y"
    ring.use_key(new)
    assert cipher(NEW).open(ring.seal(b"y")) == b"y"
    assert ring.open(cipher(OLD).seal(b"x")) == b"x"
    ring.remove_key(old)
    assert ring.open(cipher(OLD).seal(b"x")) is None
    assert ring.room(1472) == cipher(NEW).room(1472)


def test_keys_are_bounded() -> None:
    ring = Keyring(cipher, OLD)
    for _ in range(KEYS_MAX - 1):
        ring.install_key(os.urandom(128))
    with pytest.raises(ValueError, match="8 keys are valid already"):
        ring.install_key(NEW)


def test_identities_agree_between_nodes_and_differ_between_keys() -> None:
    one, two = Keyring(cipher, OLD), Keyring(cipher, NEW)
    assert one.key_identity(one.install_key(NEW)) == two.key_identity(two.key_in_use)
    assert one.key_identity(1) != one.key_identity(2)


def test_the_steps_of_corosync_are_followed(key_file: Path) -> None:
    """RELOAD: both are taken. The first phase 1: the new one seals. The last phase 2 of a C node: the old one goes."""
    keys = node(key_file)
    write(key_file, NEW)
    assert keys.message(1, cfg(RELOAD), 1)
    assert (taken(keys), seals_with(keys)) == ((True, True), OLD)
    assert keys.message(2, cfg(CRYPTO_RECONFIG, PHASE_SWITCH), 2)
    assert seals_with(keys) == NEW
    assert not keys.message(1, cfg(CRYPTO_RECONFIG, PHASE_SWITCH), 3)
    assert not keys.message(1, cfg(CRYPTO_RECONFIG, PHASE_FORGET), 4)
    assert taken(keys) == (True, True)
    assert keys.message(2, cfg(CRYPTO_RECONFIG, PHASE_FORGET), 5)
    assert taken(keys) == (False, True)
    write(key_file, OLD)  # and once more
    assert keys.message(2, cfg(RELOAD), 6)
    assert keys.message(2, cfg(CRYPTO_RECONFIG, PHASE_SWITCH), 7)
    for sender in C_NODES:
        keys.message(sender, cfg(CRYPTO_RECONFIG, PHASE_FORGET), 8)
    assert (taken(keys), seals_with(keys)) == ((True, False), OLD)


def test_a_packet_under_the_new_key_is_as_good_as_a_phase(key_file: Path) -> None:
    """The packet with phase 1 may have come before this node had the key: a C node that has forgotten the old key then
    heard nothing of this node any more, which sealed with it for ever."""
    keys = node(key_file)
    write(key_file, NEW)
    assert keys.keyring.open(cipher(NEW).seal(b"early")) is None
    assert not keys.follow(1)
    keys.message(1, cfg(RELOAD), 2)
    assert keys.keyring.open(cipher(OLD).seal(b"packet")) == b"packet"
    assert not keys.follow(3)
    assert keys.keyring.open(cipher(NEW).seal(b"packet")) == b"packet"
    assert keys.follow(4)
    assert seals_with(keys) == NEW
    assert keys.keyring.open(cipher(OLD).seal(b"late")) == b"late"
    assert not keys.follow(5), "who still seals with the old one is heard, and not followed"
    assert seals_with(keys) == NEW


def test_a_packet_under_another_key_changes_nothing_outside_of_such_a_change(key_file: Path) -> None:
    """Rondo's own change has its command for that."""
    keys = node(key_file, c_nodes=())
    keys.install_key(NEW, 1)
    assert keys.keyring.open(cipher(NEW).seal(b"packet")) == b"packet"
    assert not keys.follow(2)
    assert seals_with(keys) == OLD


def test_a_c_node_that_leaves_in_the_midst_is_not_waited_for(key_file: Path) -> None:
    keys = node(key_file)
    write(key_file, NEW)
    keys.message(1, cfg(RELOAD), 1)
    keys.message(2, cfg(CRYPTO_RECONFIG, PHASE_SWITCH), 2)
    keys.message(2, cfg(CRYPTO_RECONFIG, PHASE_FORGET), 3)
    keys.ring_changed((2, 3), (3,), 4)
    assert taken(keys) == (False, True)


def test_what_does_not_belong_to_a_change_does_nothing(key_file: Path) -> None:
    """Phases without a reload, a reload with the same key, one in a ring of Rondo nodes, messages that are cut."""
    keys = node(key_file)
    assert not keys.message(1, cfg(CRYPTO_RECONFIG, PHASE_SWITCH), 1)
    assert not keys.message(1, cfg(RELOAD), 2)
    write(key_file, NEW)
    for function in (RELOAD, CRYPTO_RECONFIG):
        assert not node(key_file, c_nodes=()).message(1, cfg(function, PHASE_SWITCH), 3)
    keys.message(1, cfg(RELOAD), 4)
    assert not keys.message(1, cfg(CRYPTO_RECONFIG, PHASE_SWITCH)[:23], 5)
    assert not keys.message(1, cfg(CRYPTO_RECONFIG, 77), 6)
    assert seals_with(keys) == OLD


def test_a_key_file_that_cannot_be_used_is_said(key_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = node(key_file)
    write(key_file, b"short")
    assert not keys.message(1, cfg(RELOAD), 1)
    assert "this node cannot follow" in caplog.text
    assert (taken(keys), seals_with(keys)) == ((True, False), OLD)


@pytest.mark.parametrize("step", ["use", "remove"])
def test_the_commands_are_refused_beside_c_nodes(key_file: Path, step: str) -> None:
    keys = node(key_file)
    keys.install_key(NEW, 1)
    change = keys.use_key if step == "use" else keys.remove_key
    with pytest.raises(ValueError, match=r"nodes of C Corosync are in the ring \(1 2\); replace the key file"):
        change(fingerprint(NEW if step == "use" else OLD), (1, 2), 2)
    assert seals_with(keys) == OLD
