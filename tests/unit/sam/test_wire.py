"""The stream between SAM and its keeper, in pieces of any size."""

from typing import Any

import pytest

from services.sam.keeper.wire import FRAME_BYTES_MAX, Say, Unframer, WireError, frame


def test_messages_come_out_as_they_went_in_whatever_the_pieces() -> None:
    messages: list[list[Any]] = [
        [Say.LIST],
        [Say.SPAWN, "a-1", 3, {"environment": [b"A=\xff"]}],
        [Say.SIGNAL, "a-1", 3, 15],
    ]
    stream = b"".join(map(frame, messages))
    for size in (1, 3, 17, len(stream)):
        unframer = Unframer()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [message for piece in pieces for message in unframer.feed(piece)] == messages


@pytest.mark.parametrize(
    "data", [(FRAME_BYTES_MAX + 1).to_bytes(4, "little"), b"\1\0\0\0\xc1", b"\1\0\0\0\x01", b"\1\0\0\0\x90"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Unframer().feed(data)
