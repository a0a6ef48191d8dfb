"""Two keys valid at once, a key change without loss, keys that are nobody else's, and nonces that never repeat."""

from __future__ import annotations

import pytest

from services.totem.security.keys import KEYS_MAX, Keyring, KeyringError
from services.totem.security.sealer import Sealer
from services.totem.security.suites import SUITES, Codec, Suite
from tests.unit.security.nodes import GCM, KEY, MS, OTHER_KEY, Node, acquaint, converse

TWIN_KEY = (127593).to_bytes(4) * 32
"""It has the same number as KEY; found by trying."""


def test_a_key_change_loses_nothing() -> None:
    """Install everywhere, use everywhere, remove everywhere, one node after the other, while frames flow (F3)."""
    nodes = [Node(1), Node(2), Node(3)]
    acquaint(*nodes)
    sent = 0

    def everybody_hears_everybody() -> None:
        nonlocal sent
        for sender in nodes:
            sent += 1
            frame = b"frame %d" % sent
            datagram = sender.seal(frame)
            assert [node.open(datagram) for node in nodes if node is not sender] == [frame, frame]

    old = nodes[0].security.key_in_use
    for node in nodes:
        new = node.security.install_key(OTHER_KEY)
        everybody_hears_everybody()
    for node in nodes:
        node.security.use_key(new)
        everybody_hears_everybody()
    late = nodes[0].seal(b"late")
    for node in nodes:
        node.security.remove_key(old)
        everybody_hears_everybody()
    assert nodes[1].open(late) == b"late"
    for node in nodes:
        assert node.security.key_numbers == (new,)
        assert not node.security.take_complaints()
        assert not node.security.take_replies(), "no new questions: a boot is known under all keys"


def test_a_removed_key_opens_nothing_any_more() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    before = one.seal(b"under the old key")
    assert two.open(one.seal(b"frame")) == b"frame"
    old = two.security.key_in_use
    two.security.use_key(two.security.install_key(OTHER_KEY))
    two.security.remove_key(old)
    assert two.open(before) is None
    assert two.count("wrong_key") == 1
    two.security.install_key(KEY)
    assert two.open(before) == b"under the old key"


def test_a_key_with_the_number_of_a_removed_one_does_not_bring_it_back() -> None:
    """A number has 16 bits, so two keys may have the same one, though not at the same time."""
    one, two = Node(1), Node(2)
    acquaint(one, two)
    assert two.open(one.seal(b"frame")) == b"frame"
    before = one.seal(b"under the old key")
    old = two.security.key_in_use
    for node in (one, two):
        node.security.use_key(node.security.install_key(OTHER_KEY))
        node.seal(b"under the key between")
        node.security.remove_key(old)
        assert node.security.install_key(TWIN_KEY) == old
        node.security.use_key(old)
    assert two.open(before) is None
    acquaint(one, two)
    assert two.open(one.seal(b"under the twin")) == b"under the twin"


def test_a_replay_under_another_key_is_one_too() -> None:
    """The window belongs to the boot: counters go on through a change of the key."""
    one, two = Node(1), Node(2)
    acquaint(one, two)
    first = one.seal(b"first")
    assert two.open(first) == b"first"
    for node in (one, two):
        node.security.use_key(node.security.install_key(OTHER_KEY))
    second = one.seal(b"second")
    assert two.open(second) == b"second"
    assert [two.open(first), two.open(second)] == [None, None]
    assert two.count("replayed") == 2


def test_a_node_that_starts_with_the_new_key_alone_fits_in() -> None:
    """Numbers follow from the keys, so it needs to be told nothing."""
    one, two = Node(1), Node(2)
    acquaint(one, two)
    two.security.use_key(two.security.install_key(OTHER_KEY))
    one = Node(1, life=2, key=OTHER_KEY)
    two.now_ns += 100 * MS
    two.open(one.seal(b"join"), one.address)
    converse(one, two)
    assert two.released() == [b"join"]
    assert one.open(two.seal(b"frame")) == b"frame"


def test_the_keyring_refuses_what_cannot_be() -> None:
    keyring = Keyring(GCM, "test", KEY)
    assert keyring.install(KEY) == keyring.in_use
    with pytest.raises(KeyringError, match="is in use; use another one first"):
        keyring.remove(keyring.in_use)
    for call in (keyring.use, keyring.remove):
        with pytest.raises(KeyringError, match="no key 70000 is installed"):
            call(70000)
    for number in range(KEYS_MAX - 1):
        keyring.install(bytes([number]) * 128)
    with pytest.raises(KeyringError, match="8 keys are valid already; remove one first"):
        keyring.install(OTHER_KEY)
    assert keyring.install(KEY) == keyring.in_use


def test_keys_with_the_same_number_are_refused() -> None:
    numbers: dict[int, bytes] = {}
    for each in range(100_000):
        key = each.to_bytes(128, "big")
        number = Keyring(GCM, "test", key).in_use
        if number in numbers:
            keyring = Keyring(GCM, "test", numbers[number])
            with pytest.raises(KeyringError, match=f"has the number {number} of another valid key; make a new one"):
                keyring.install(key)
            return
        numbers[number] = key
    raise AssertionError("no two keys with the same number were found")


class NoncesSeen:
    """Notes under which key which counters are used."""

    def __init__(self) -> None:
        self.seen: set[tuple[bytes, bytes]] = set()

    def suite(self) -> Suite:
        noted = self.seen

        class Noting(Codec):
            def __init__(self, key: bytes) -> None:
                self.key = key

            def seal(self, header: bytes, content: bytes, bound: bytes = b"") -> bytes:
                use = (self.key, header[32:])
                assert use not in noted
                noted.add(use)
                return header + content + bytes(16)

            def open(self, datagram: bytes, bound: bytes = b"") -> bytes:
                raise NotImplementedError

        return Suite(1, "noting", 32, 56, 0, 56, Noting)


def test_no_nonce_repeats_with_a_key() -> None:
    """Over nodes, clusters, keys, boots and changes of the key to and fro."""
    nonces = NoncesSeen()
    suite = nonces.suite()
    for cluster in ("a", "b"):
        for node in (1, 2, 258):
            for boot in (bytes(16), bytes(15) + b"\1"):
                keyring = Keyring(suite, cluster, KEY)
                sealer = Sealer(keyring, cluster, node, boot)
                first, second = keyring.in_use, keyring.install(OTHER_KEY)
                for key in (first, second, first):
                    keyring.use(key)
                    for _ in range(10):
                        sealer.seal(b"frame")
                        sealer.seal_enquiry(2, 1, bytes(16))  # type: ignore[arg-type]
    assert len(nonces.seen) == 2 * 3 * 2 * 60


def test_suites_do_not_share_keys() -> None:
    keys = set()
    for suite in SUITES.values():
        made: list[bytes] = []
        noting = Suite(suite.number, "", 16, 0, 0, 0, made.append)  # type: ignore[arg-type]
        Keyring(noting, "test", KEY).codec(Keyring(noting, "test", KEY).in_use, 1, bytes(16))
        keys.update(made)
    assert len(keys) == len(SUITES)


def test_a_boot_has_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="a boot has 16 bytes, not 15"):
        Sealer(Keyring(GCM, "test", KEY), "test", 1, bytes(15))
