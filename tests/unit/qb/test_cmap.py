"""The socket `cmap`: layouts and damage."""

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from services.qb_gateway.access import Access
from services.qb_gateway.connection import Peer
from services.qb_gateway.wire import cmap
from services.qb_gateway.wire.messages import RequestError

READERS: dict[int, tuple[Callable[[bytes], Any], ...]] = {
    cmap.SET: (cmap.key_of, cmap.value_of),
    cmap.GET: (cmap.key_of, cmap.room_of),
    cmap.ADD: (cmap.key_of, cmap.step_of),
    cmap.TRACK: (cmap.key_of, cmap.track_of),
    cmap.CHOOSE: (cmap.map_of,),
}
"""What is read of each request; of the others a handle."""


def key(name: bytes) -> bytes:
    return struct.pack("<H6s256s", len(name), b"\xaa" * 6, name)


def set_request(name: bytes, kind: int, raw: bytes) -> bytes:
    body = key(name) + struct.pack("<QB7s", len(raw), kind, b"\xbb" * 7) + raw
    return struct.pack("<iiii", 0, 0, 16 + len(body), 0) + body


def test_values_come_and_go_as_clients_have_them() -> None:
    for kind, value, raw in (
        (2, 255, b"\xff"),
        (5, -2, b"\xfe\xff\xff\xff"),
        (8, 2**40, (2**40).to_bytes(8, "little")),
        (11, "n1", b"n1\0"),
        (12, b"\0\1", b"\0\1"),
    ):
        assert cmap.pack_value(kind, value) == raw
        sent = raw.rstrip(b"\0") if kind == 11 else raw
        request = set_request(b"a.b", kind, sent)
        assert cmap.key_of(request) == "a.b"
        assert cmap.value_of(request) == (kind, value)


@pytest.mark.parametrize(("kind", "raw"), [(2, b"12"), (6, b"123"), (0, b""), (13, b"x"), (11, b"\xff")])
def test_values_that_do_not_fit_their_type_are_refused(kind: int, raw: bytes) -> None:
    with pytest.raises(RequestError):
        cmap.value_of(set_request(b"a.b", kind, raw))


def test_a_get_has_just_the_size_that_was_asked_for() -> None:
    reply = cmap.value_reply(11, b"n1\0", 16)
    assert len(reply) == 56
    assert struct.unpack_from("<i4xi4xi4xQB", reply) == (2, 56, 1, 3, 11)
    assert reply[40:43] == b"n1\0"
    assert len(cmap.value_reply(11, b"n1\0", 0)) == 40
    assert struct.unpack_from("<i4xi4xi", cmap.value_reply(11, b"n1\0", 2)) == (2, 40, 7)


def test_a_change_has_the_values_behind_each_other() -> None:
    event = cmap.change_event(7, "a.b", [11, "new"], [6, 5])
    assert struct.unpack_from("<i4xi", event) == (9, len(event))
    assert struct.unpack_from("<QH", event, 24) == (7, 3)
    assert [struct.unpack_from("<B", event, at)[0] for at in (296, 304, 312)] == [cmap.CHANGED, 11, 6]
    assert struct.unpack_from("<QQ", event, 320) == (4, 4)
    assert event[336:] == b"new\0\5\0\0\0"
    assert cmap.kind_of_change(None, [6, 5]) == cmap.DELETED
    assert cmap.kind_of_change([6, 5], None) == cmap.ADDED


@pytest.mark.parametrize("seed", range(50))
def test_damage_is_refused_and_raises_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    for ident, size in cmap.SIZES_MIN.items():
        message = rng.randbytes(size + rng.randrange(20))
        for read in READERS.get(ident, (cmap.number_of,)):
            try:
                read(message)
            except RequestError:
                continue


def test_a_key_lets_a_user_or_group_in_for_the_very_next_connection() -> None:
    access = Access((), ())
    user, member = Peer(1, 500, 500), Peer(1, 501, 189)
    assert not access.allows(user)
    access.on_key("uidgid.uid.500", [2, 1])
    access.on_key("uidgid.gid.189", [2, 1])
    assert access.allows(user)
    assert access.allows(member)
    access.on_key("uidgid.uid.500", [2, 0])
    access.on_key("uidgid.gid.189", None)
    assert not access.allows(user)
    assert not access.allows(member)
    access.on_key("uidgid.uid.500.x", [2, 1])
    access.on_key("uidgid.uid.500", [6, 1])
    assert not access.allows(user)
