"""Rings between a correct writer and a correct reader, and beside a client that scribbles over them."""

import random
from collections import deque

import pytest

from services.qb_gateway.rings import layout
from services.qb_gateway.rings.layout import RingError
from services.qb_gateway.rings.reader import Reader
from services.qb_gateway.rings.writer import Writer

PAGE_BYTES = 4096


class Count:
    """A semaphore of one thread."""

    def __init__(self) -> None:
        self.value = 0

    def post(self, count: int) -> None:
        self.value += count

    def take(self) -> bool:
        if not self.value:
            return False
        self.value -= 1
        return True

    def is_zero(self) -> bool:
        return self.value == 0


class Ring:
    """The writer and the reader of one ring."""

    def __init__(self, message_bytes_max: int = 1000) -> None:
        size = layout.data_bytes(message_bytes_max, PAGE_BYTES)
        self.header = memoryview(bytearray(layout.first_header(8252, size // 4, "h", "d"))).cast("I")
        self.data = memoryview(bytearray(size))
        self.semaphore = Count()
        self.writer = Writer(self.header, self.data, self.semaphore)
        self.reader = Reader(self.header, self.data, self.semaphore, 1, message_bytes_max)


def test_sizes_are_those_that_clients_cut_files_to() -> None:
    assert layout.data_bytes(1048576, 4096) == 1052672
    assert layout.data_bytes(65536, 4096) == 69632
    header = layout.first_header(layout.HEADER_BYTES, 17, "/a-header", "/a-data")
    assert len(header) == 8248
    assert header[8:12] == (17).to_bytes(4, "little")
    assert header[12:21] == b"/a-header"
    assert header[4108:4115] == b"/a-data"
    assert header[8204:8208] == (1).to_bytes(4, "little")


@pytest.mark.parametrize("seed", range(20))
def test_chunks_of_any_size_come_out_as_they_went_in(seed: int) -> None:
    rng = random.Random(seed)
    ring = Ring()
    sent: list[bytes] = []
    got: list[bytes] = []
    queue: deque[bytes] = deque()
    for _ in range(2000):
        if rng.random() < 0.5:
            chunk = rng.randbytes(rng.choice((1, 2, 3, 4, 5, 100, 999, 1000)))
            queue.append(chunk)
            sent.append(chunk)
        if rng.random() < 0.5:
            ring.writer.write(queue)
        for _ in range(rng.randrange(3)):
            chunk_or_none = ring.reader.take()
            if chunk_or_none is not None:
                got.append(chunk_or_none)
    while queue or ring.semaphore.value:
        ring.writer.write(queue)
        got.append(ring.reader.take() or b"")
    assert got == sent


def test_many_go_in_at_once_and_none_overwrites_another() -> None:
    ring = Ring()
    queue = deque([bytes([n]) * 100 for n in range(100)])
    written = ring.writer.write(queue)
    # 1024 words; each chunk takes 2 + 25, and 12 bytes are never filled.
    assert written == 37
    assert len(queue) == 63
    assert ring.writer.write(queue) == 0
    assert [ring.reader.take() for _ in range(38)] == [bytes([n]) * 100 for n in range(37)] + [None]


def test_a_chunk_is_laid_out_as_libqb_has_it() -> None:
    ring = Ring()
    ring.writer.write(deque([b"abcde"]))
    words = ring.data.cast("I")
    assert (words[0], words[1]) == (5, layout.COMPLETE)
    assert ring.data[8:16].tobytes() == b"abcde\0\0\0"
    assert (ring.header[layout.WRITE_AT], ring.header[layout.READ_AT]) == (4, 0)
    ring.reader.take()
    assert (words[0], words[1], ring.header[layout.READ_AT]) == (0, layout.CONSUMED, 4)


def test_a_chunk_may_go_round_the_end() -> None:
    ring = Ring()
    for _ in range(5):
        ring.writer.write(deque([bytes(1000)]))
        ring.reader.take()
    whole = bytes(range(250)) * 4
    ring.writer.write(deque([whole]))
    assert ring.header[layout.WRITE_AT] < 1000 // 4 * 2
    assert ring.reader.take() == whole


def test_nothing_is_looked_at_that_was_not_announced() -> None:
    ring = Ring()
    ring.writer.write(deque([b"early"]))
    ring.semaphore.value = 0
    assert ring.reader.take() is None


@pytest.mark.parametrize("length", [0, 1001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_that_cannot_be_ends_the_connection(length: int) -> None:
    ring = Ring()
    ring.writer.write(deque([b"x" * 16]))
    ring.data.cast("I")[0] = length
    with pytest.raises(RingError, match=str(length)):
        ring.reader.take()


@pytest.mark.parametrize("mark", [0, layout.BEING_WRITTEN, layout.CONSUMED])
def test_an_announced_chunk_that_is_not_complete_ends_the_connection(mark: int) -> None:
    ring = Ring()
    ring.writer.write(deque([b"x" * 16]))
    ring.data.cast("I")[1] = mark
    with pytest.raises(RingError, match="mark"):
        ring.reader.take()


@pytest.mark.parametrize("index", [1024, 0xFFFFFFFF])
def test_a_read_index_beyond_the_ring_ends_the_connection(index: int) -> None:
    ring = Ring()
    ring.header[layout.READ_AT] = index
    with pytest.raises(RingError, match="read index"):
        ring.writer.write(deque([b"x"]))


def test_what_is_written_over_the_own_indices_and_sizes_changes_nothing() -> None:
    ring = Ring()
    ring.writer.write(deque([b"one"]))
    for word in (layout.WRITE_AT, 2):
        ring.header[word] = 0xFFFFFFFF
    ring.writer.write(deque([b"two"]))
    assert ring.reader.take() == b"one"
    assert ring.reader.take() == b"two"


@pytest.mark.parametrize("seed", range(50))
def test_no_scribbling_raises_anything_else(seed: int) -> None:
    rng = random.Random(seed)
    ring = Ring()
    words = ring.data.cast("I")
    for _ in range(300):
        queue = deque([bytes(rng.randrange(1, 1000)) for _ in range(rng.randrange(4))])
        target = rng.choice((words, ring.header))
        target[rng.randrange(min(len(target), 2048))] = rng.choice((0, 5, layout.COMPLETE, rng.getrandbits(32)))
        ring.semaphore.value = max(0, ring.semaphore.value + rng.choice((0, 0, 0, 1, -1)))
        try:
            ring.writer.write(queue)
            chunk = ring.reader.take()
        except RingError:
            return
        assert chunk is None or 1 <= len(chunk) <= 1000
