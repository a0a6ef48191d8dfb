"""The socket `cfg`: layouts, and which addresses nodes have."""

import struct

import pytest

from services.qb_gateway.wire import cfg

SIZES = {0: 10272, 1: 24, 2: 24, 3: 24, 4: 24, 5: 32, 6: 32, 7: 24, 8: 24, 9: 4200, 10: 24, 11: 24}


@pytest.mark.parametrize(("ident", "size"), SIZES.items())
def test_refusals_have_the_size_of_the_structure_that_the_library_reads(ident: int, size: int) -> None:
    refusal = cfg.refusal(ident, 19)
    assert len(refusal) == size
    assert struct.unpack_from("<i4xi4xi", refusal)[1:] == (size, 19)


def test_addresses() -> None:
    four = cfg.addresses_reply([bytes([10, 0, 0, 1]), bytes([10, 1, 0, 1])])
    assert struct.unpack_from("<i4xi4xi4xII", four) == (11, 64, 1, 2, 2)
    assert four[32:36] == bytes([10, 0, 0, 1])
    assert four[48:52] == bytes([10, 1, 0, 1])
    six = cfg.addresses_reply([bytes(range(16))])
    assert struct.unpack_from("<II", six, 24) == (10, 1)
    assert six[32:] == bytes(range(16))
    assert cfg.node_of(bytes(16) + b"\x05\0\0\0") == 5
    assert cfg.node_of(bytes(19)) is None


def test_the_state_of_a_node() -> None:
    reply = cfg.status_reply(3, True, {1: cfg.Link(True, 1409, "10.0.0.1", "10.0.0.2")})
    assert len(reply) == 4200
    assert struct.unpack_from("<IIB", reply, 24) == (1, 3, 1)
    assert reply[24 + 16] == 0
    link = 24 + 16 + 520
    assert struct.unpack_from("<BB2xI", reply, link) == (1, 1, 1409)
    assert reply[link + 8 : link + 17] == b"10.0.0.1\0"
    assert reply[link + 264 : link + 273] == b"10.0.0.2\0"
    assert cfg.version_of(bytes(24) + b"\x01\0\0\0") == 1
    assert cfg.version_of(bytes(27)) == 0


def test_the_state_of_the_links() -> None:
    reply = cfg.rings_reply([("0 10.0.0.1", "n3"), ("1 10.1.0.1", "n1")])
    assert len(reply) == SIZES[cfg.RINGS]
    assert struct.unpack_from("<I", reply, 24) == (2,)
    assert [reply[at : at + 11] for at in (32, 160)] == [b"0 10.0.0.1\0", b"1 10.1.0.1\0"]
    assert [reply[at : at + 3] for at in (2080, 2592)] == [b"n3\0", b"n1\0"]


def test_why_a_node_is_to_be_killed() -> None:
    request = struct.pack("<i4xi4xI4xH256s6x", 2, 288, 3, 4, b"diskette")
    assert len(request) == 288
    assert cfg.node_of(request) == 3
    assert cfg.reason_of(request) == "disk"
    assert cfg.reason_of(request[:281]) == ""


def test_the_event_of_a_shutdown() -> None:
    assert struct.unpack("<i4xi4xi4xI4x", cfg.shutdown_event(1, 5)) == (10, 32, 5, 1)
