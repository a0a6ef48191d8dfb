"""A key is changed on several nodes while they talk: nothing is refused, and no step cuts a node off."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from random import Random

import pytest

from rondo.config.key import fingerprint
from services.totem.keyring_file import Keys, KeyStore, stored_keys
from services.totem.protection import Protection
from services.totem.security.keybook import INTERVAL_NS, VALID_NS
from services.totem.security.keys import KEYS_MAX
from services.totem.wire.base import RingId
from services.totem.wire.frames import HoldCancel, encode_hold_cancel
from services.totem.wire.notices import KeyNotice, decode_notice, encode_keys
from tests.unit.security.nodes import Node, acquaint

OLD, NEW = bytes(range(256)), bytes(range(255, -1, -1))
NODES = (1, 2, 3)


class Member:
    """A node with its keys, without sockets."""

    def __init__(self, node: int, keys: Keys | None = None, store: KeyStore | None = None, life: int = 1) -> None:
        self.node = node
        self.others = [other for other in NODES if other != node]
        keys = keys or Keys((OLD,), OLD)
        self.inner = Node(node, life, key=keys.in_use)
        self.protection = Protection(self.inner.security, keys, store)

    def do(self, step: str, now_ns: int, *, force: bool = False) -> str:
        if step == "install":
            return self.protection.install_key(NEW, now_ns)
        if step == "use":
            return self.protection.use_key(fingerprint(NEW), self.others, now_ns, force=force)
        return self.protection.remove_key(fingerprint(OLD), self.others, now_ns, force=force)

    def refused(self) -> int:
        counted = self.inner.security.counters
        return sum(counted[name] for name in ("wrong_key", "replayed", "unknown_boot", "malformed"))


class Network:
    """Everything sealed by one reaches all others, later."""

    def __init__(self, seed: str = "") -> None:
        self.members = {node: Member(node) for node in NODES}
        acquaint(*(member.inner for member in self.members.values()))
        self.refused_before = [member.refused() for member in self.members.values()]
        self.now_ns = 10**12
        self.draw = Random(seed)
        self.flying: deque[tuple[int, bytes]] = deque()
        self.sent = self.received = 0

    def send(self, node: int, frame: bytes) -> None:
        datagram = self.members[node].protection.seal(frame)
        self.sent += len(NODES) - 1
        self.flying.extend((other, datagram) for other in NODES if other != node)

    def deliver(self, leave: int = 0) -> None:
        while len(self.flying) > leave:
            to, datagram = self.flying.popleft()
            frame = self.members[to].inner.security.open(datagram, "10.0.0.9", self.now_ns)
            assert frame is not None, self.members[to].inner.security.counters
            self.received += 1
            if len(frame) > 25 and isinstance(notice := decode_notice(frame), KeyNotice):
                told = self.members[to].protection.keys_of_others
                told.heard(notice.sender, notice.valid, notice.in_use, self.now_ns)

    def talk(self, leave: int = 0) -> None:
        """Every node sends something, and what it has to tell of its keys."""
        self.now_ns += INTERVAL_NS // 3
        for node, member in self.members.items():
            self.send(node, encode_hold_cancel(HoldCancel(node, RingId(1, 4))))
            if member.protection.keys_of_others.due_ns <= self.now_ns:
                self.send(node, encode_keys(member.protection.key_notice(node)))
                several = member.protection.has_several_keys
                member.protection.keys_of_others.said(self.now_ns, again=several)
        self.deliver(leave)


@pytest.mark.parametrize("seed", range(5))
def test_no_packet_is_refused_while_a_key_is_changed(seed: int) -> None:
    """Steps at random moments, with packets under way, sealed before a step and opened after it (property F3)."""
    network = Network(f"change {seed}")
    for step in ("install", "use", "remove"):
        for node in network.draw.sample(NODES, len(NODES)):
            for _ in range(network.draw.randint(0, 9)):
                network.talk(leave=network.draw.randint(0, 12))
            # The nodes know within a second or two who may do what; until then they are refused, and try again.
            for _ in range(20):
                try:
                    network.members[node].do(step, network.now_ns)
                    break
                except ValueError:
                    network.talk()
            else:
                raise AssertionError(f"{step} on node {node} is refused for ever")
        network.deliver()
    network.talk()
    assert network.sent == network.received
    assert [member.refused() for member in network.members.values()] == network.refused_before
    for member in network.members.values():
        assert member.protection.key_fingerprint == fingerprint(NEW)
        assert not member.protection.has_several_keys
    for _ in range(10):
        network.talk()
    assert network.sent == network.received, "and with one key they are silent about it"


def test_a_key_is_used_only_when_all_others_have_it() -> None:
    network = Network()
    one, two, three = network.members.values()
    one.do("install", network.now_ns)
    with pytest.raises(
        ValueError, match=r"^each of nodes 2 3 sent no notice of its keys in the last seconds; start it"
    ):
        one.do("use", network.now_ns)
    network.talk()
    two.do("install", network.now_ns)
    for _ in range(5):
        network.talk()
    with pytest.raises(ValueError, match=r"^node 3 does not have this key; install it there first, or use --force"):
        one.do("use", network.now_ns)
    three.do("install", network.now_ns)
    for _ in range(5):
        network.talk()
    assert one.do("use", network.now_ns) == fingerprint(NEW)
    network.talk()
    with pytest.raises(ValueError, match=r"^each of nodes 2 3 still seals with this key; use another one there first"):
        one.do("remove", network.now_ns)
    with pytest.raises(ValueError, match="is in use here; use another one first"):
        two.do("remove", network.now_ns)
    network.now_ns += VALID_NS
    with pytest.raises(ValueError, match="sent no notice"):
        one.do("remove", network.now_ns)
    one.do("remove", network.now_ns, force=True)
    assert two.protection.status()["fingerprints"] == [fingerprint(OLD), fingerprint(NEW)]


def test_keys_are_named_by_their_fingerprints() -> None:
    member = Member(1)
    with pytest.raises(ValueError, match=rf"^no key is named ffff:; there are: {fingerprint(OLD)}$"):
        member.protection.use_key("ffff:", (), 0)
    with pytest.raises(ValueError, match="no key is named"):
        member.protection.use_key("", (), 0)
    assert member.protection.use_key(fingerprint(OLD)[:6], (), 0) == fingerprint(OLD)
    assert member.protection.use_key(fingerprint(OLD).replace(":", "").upper(), (), 0) == fingerprint(OLD)
    for size in (127, 4097):
        with pytest.raises(ValueError, match="a key has 128 to 4096 bytes"):
            member.protection.install_key(bytes(size), 0)
    for number in range(1, KEYS_MAX):
        member.protection.install_key(bytes([number]) * 128, 0)
    with pytest.raises(ValueError, match="8 keys are valid already; remove one first"):
        member.protection.install_key(NEW, 0)


def saved(store: KeyStore) -> None:
    end = time.monotonic() + 30
    while store.unsaved:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_restarted_node_goes_on_where_the_change_was(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, OLD)
    first = Member(1, store=store)
    first.do("install", 0)
    saved(store)
    assert stored_keys(tmp_path, OLD) == Keys((OLD, NEW), OLD)
    assert (tmp_path / "keyring").stat().st_mode & 0o777 == 0o600
    first.do("use", 0, force=True)
    saved(store)
    assert stored_keys(tmp_path, OLD) == Keys((OLD, NEW), NEW)
    again = Member(1, stored_keys(tmp_path, OLD), store, life=2)
    assert again.protection.key_fingerprint == fingerprint(NEW)
    again.do("remove", 0, force=True)
    saved(store)
    assert stored_keys(tmp_path, OLD) == Keys((NEW,), NEW)
    assert store.error == ""


def test_a_new_key_file_is_the_last_word(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, OLD)
    store.save(Keys((OLD, NEW), OLD))
    saved(store)
    assert stored_keys(tmp_path, NEW) == Keys((OLD, NEW), NEW)
    other = bytes(128)
    assert stored_keys(tmp_path, other) == Keys((other,), other)


def test_with_the_key_of_the_key_file_alone_nothing_is_stored(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, OLD)
    for keys in (Keys((OLD, NEW), OLD), Keys((OLD,), OLD)):
        store.save(keys)
        saved(store)
    assert not (tmp_path / "keyring").exists()
    assert stored_keys(tmp_path, OLD) == Keys((OLD,), OLD)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"format": 2, "keys": [], "in_use": "", "key_file": ""}', b"\xff"]
)
def test_a_damaged_keyring_is_left_aside(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keyring"
    path.write_bytes(content)
    path.chmod(0o600)
    assert stored_keys(tmp_path, OLD) == Keys((OLD,), OLD)
    assert "only the key of the key file is valid" in caplog.text


def test_a_keyring_that_others_can_read_is_left_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = KeyStore(tmp_path, OLD)
    store.save(Keys((OLD, NEW), NEW))
    saved(store)
    store.path.chmod(0o644)
    assert stored_keys(tmp_path, OLD) == Keys((OLD,), OLD)
    assert "others have access" in caplog.text


def test_a_disk_that_refuses_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = KeyStore(tmp_path / "gone", OLD)
    store.save(Keys((OLD, NEW), NEW))
    saved(store)
    assert store.error == "No such file or directory"
    assert "after a restart they are not valid" in caplog.text
