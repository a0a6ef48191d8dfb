"""The sockets `quorum` and `votequorum`: the layouts of their messages."""

import struct

import pytest

from services.qb_gateway.wire import quorum


def ids(message: bytes, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", message, at)


def test_events_of_quorum() -> None:
    first = quorum.quorum_event(0, True, (1, 2**40), [1, 2, 3])
    assert (len(first), ids(first, 0, 1), ids(first, 24, 1)) == (60, (3,), (1,))
    assert struct.unpack_from("<QI", first, 32) == (2**40, 3)
    assert ids(first, 44, 3) == (1, 2, 3)
    second = quorum.quorum_event(1, False, (7, 2**40), [1, 2, 3])
    assert (len(second), ids(second, 0, 1), ids(second, 24, 1), ids(second, 32, 1)) == (68, (6,), (0,), (7,))
    assert struct.unpack_from("<QI", second, 40) == (2**40, 3)
    assert ids(second, 52, 3) == (1, 2, 3)
    nodes = quorum.nodelist_event((7, 9), [1, 2], [2], [3, 4])
    assert (len(nodes), ids(nodes, 0, 1), ids(nodes, 24, 1)) == (64 + 5 * 4, (7,), (7,))
    assert [ids(nodes, at, 1)[0] for at in (40, 48, 56)] == [2, 1, 2]
    assert ids(nodes, 60, 5) == (1, 2, 2, 3, 4)


def test_events_of_votequorum() -> None:
    votes = quorum.votes_event(2**63, True, [(1, 1), (2, 2)])
    assert (len(votes), ids(votes, 24, 1), struct.unpack_from("<QI", votes, 32)) == (64, (1,), (2**63, 2))
    assert ids(votes, 48, 4) == (1, 1, 2, 2)
    expected = quorum.expected_event(2**63, 3)
    assert (len(expected), struct.unpack_from("<QI", expected, 24)) == (40, (2**63, 3))
    nodes = quorum.votes_nodelist_event(2**63, (7, 9), [1, 2])
    assert (len(nodes), struct.unpack_from("<QI4xQI", nodes, 24)) == (64, (2**63, 7, 9, 2))
    assert ids(nodes, 56, 2) == (1, 2)


def test_information() -> None:
    reply = quorum.information_reply(quorum.Information(1, 2, 3, 4, 5, 6, 7, 8))
    assert (len(reply), ids(reply, 24, 9)) == (320, (1, 2, 3, 4, 5, 6, 7, 8, 0))


@pytest.mark.parametrize(("ident", "size"), [(0, 32), (1, 24), (2, 24), (3, 32), (4, 32), (5, 24), (99, 24)])
def test_refusals_of_quorum(ident: int, size: int) -> None:
    assert len(quorum.refusal(ident, 7)) == size


@pytest.mark.parametrize(("ident", "size"), [(0, 320), (1, 24), (4, 24), (9, 24), (10, 24), (-1, 24)])
def test_refusals_of_votequorum(ident: int, size: int) -> None:
    assert len(quorum.votes_refusal(ident, 7)) == size
