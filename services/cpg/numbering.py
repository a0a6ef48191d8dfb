"""Whether a blob holds the requests that its envelope announces."""

from __future__ import annotations

from typing import Any, Final

from rondo.protocol.batch import decode_body
from rondo.protocol.envelope import BusError
from rondo.protocol.large import sizes_of_bins
from rondo.protocol.requests import (
    BATCH_BODY_BYTES_MAX,
    BATCH_PAYLOAD_BYTES_MAX,
    MESSAGES_PER_BLOB_MAX,
    REQUEST_CLOSE,
    Op,
)

_BATCH: Final = int(Op.BATCH)


def check_numbers(requests: list[list[Any]], first: int, last: int, message_size_max: int) -> list[int]:
    """How many requests each of these is: batches are several. Raises `BusError` if they are not `first` to `last`."""
    counts: list[int] = []
    due = first
    size_max = min(BATCH_PAYLOAD_BYTES_MAX, message_size_max)
    for request in requests:
        if request[0] != due:
            break
        count = 1
        if request[1] == _BATCH:
            if len(request) != 5 or not isinstance(request[4], (bytes, memoryview)):
                raise BusError("a batch is [number, operation, group, guarantee, body]")
            if len(request[4]) > BATCH_BODY_BYTES_MAX:
                raise BusError("what is in a batch is too big for one")
            sizes = sizes_of_bins(request[4])
            if sizes is not None:
                count, longest = len(sizes), max(sizes)
            else:
                payloads = decode_body(request[4])
                count, longest = len(payloads), max(map(len, payloads))
            if longest > size_max:
                raise BusError("what is in a batch is too big for one")
        counts.append(count)
        due += count
        if due - first > MESSAGES_PER_BLOB_MAX:
            raise BusError(f"more than {MESSAGES_PER_BLOB_MAX} messages at once")
    if last >= REQUEST_CLOSE:
        raise BusError(f"a request has a number below {REQUEST_CLOSE}")
    if len(counts) != len(requests) or due != last + 1:
        raise BusError(f"requests are not numbered {first} to {last}")
    return counts
