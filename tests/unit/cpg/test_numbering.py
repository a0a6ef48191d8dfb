"""What a blob of requests may announce and hold."""

import pytest

from rondo.protocol.batch import encode_body
from rondo.protocol.envelope import BusError
from rondo.protocol.requests import MESSAGES_PER_BLOB_MAX, REQUEST_CLOSE, Op
from services.cpg.numbering import check_numbers

MIB = 1 << 20


def batch(number: int, count: int) -> list[object]:
    return [number, int(Op.BATCH), b"g", 2, encode_body([b""] * count)]


def test_batches_of_a_blob_hold_a_bounded_number_of_messages() -> None:
    count = MESSAGES_PER_BLOB_MAX // 4
    full = [batch(1 + number * count, count) for number in range(4)]
    assert check_numbers(full, 1, MESSAGES_PER_BLOB_MAX, MIB) == [count] * 4
    with pytest.raises(BusError, match="at once"):
        check_numbers([*full, batch(MESSAGES_PER_BLOB_MAX + 1, 1)], 1, MESSAGES_PER_BLOB_MAX + 1, MIB)


def test_no_message_of_a_batch_has_the_number_that_closes_a_session() -> None:
    assert check_numbers([batch(REQUEST_CLOSE - 2, 2)], REQUEST_CLOSE - 2, REQUEST_CLOSE - 1, MIB) == [2]
    with pytest.raises(BusError, match="number below"):
        check_numbers([batch(REQUEST_CLOSE - 1, 2)], REQUEST_CLOSE - 1, REQUEST_CLOSE, MIB)
