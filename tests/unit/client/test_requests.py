"""What a client keeps of its requests: batches that are settled in parts, and sent again."""

from __future__ import annotations

import pytest

from rondo._client.batches import REQUEST_BYTES, Request
from rondo._client.requests import Requests
from rondo.protocol.requests import decode_requests, expand_batches


@pytest.fixture
def requests() -> Requests:
    made = Requests(Request)
    made.window_bytes, made.window_requests = 10_000, 100
    return made


def add(requests: Requests, *payloads: bytes) -> list[Request]:
    """Add messages, which share batches as far as they can."""
    made = [requests.add_message("g", b"g", 2, data) for data in payloads]
    return [request for request in made if request is not None]


def sent(requests: Requests) -> list[tuple[int, bytes]]:
    """Number and payload of all that is to be sent now."""
    blobs = requests.blobs()
    return [(request[0], request[4]) for _, _, blob in blobs for request in expand_batches(decode_requests(blob))]


def test_a_batch_of_which_a_part_is_settled_is_sent_again(requests: Requests) -> None:
    """The connection breaks between the second and the third message of a batch: the third must not be lost."""
    made = add(requests, b"a", b"b", b"c")
    assert sent(requests) == [(1, b"a"), (2, b"b"), (3, b"c")]
    requests.settled(2)
    assert not any(request.is_accepted for request in made)
    requests.repeat(2)
    assert sent(requests)[-1] == (3, b"c")
    assert requests.bytes_kept == 3 * (REQUEST_BYTES + 1)
    requests.settled(3)
    assert all(request.is_accepted for request in made)
    assert (requests.bytes_kept, requests.count_kept) == (0, 0)
    requests.repeat(3)
    assert sent(requests) == []


def test_what_was_sent_before_goes_out_before_what_waits(requests: Requests) -> None:
    add(requests, b"a", b"b")
    sent(requests)
    add(requests, b"c")
    requests.repeat(0)
    assert sent(requests) == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_the_window_counts_bytes_and_requests(requests: Requests) -> None:
    """A single message has room whatever its size."""
    requests.window_bytes = 9_100 + 3 * REQUEST_BYTES
    assert len(add(requests, bytes(5000), bytes(4000))) == 2
    assert add(requests, bytes(2000)) == []
    assert len(add(requests, bytes(100))) == 1
    requests.window_bytes += 10 * REQUEST_BYTES
    requests.window_requests = 4
    assert len(add(requests, b"x", b"y")) == 1
    sent(requests)
    requests.settled(4)
    assert len(add(requests, bytes(50_000))) == 1
    assert add(requests, b"x") == []
