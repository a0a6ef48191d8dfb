"""The output of applications keeps within what the disk is allowed to lose, whoever writes how much."""

import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sam.keeper.output import FILE_BYTES_MAX, Outputs, make_fifo

KIB, MIB = 1024, 1024 * 1024
OWN = os.geteuid()
ALICE, BOB, CAROL = 12345, 12346, 12347


class Writers:
    """Outputs, and the applications that write them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.poll = select.epoll()
        self.outputs = Outputs(self.poll)
        self.writing: dict[str, int] = {}

    def open(self, key: str, uid: int) -> None:
        fifo = str(self.directory / f"{key}.out")
        make_fifo(fifo, OWN)
        self.outputs.open(key, fifo, self.log(key), uid)
        self.writing[key] = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)

    def log(self, key: str) -> str:
        return str(self.directory / f"{key}.log")

    def write(self, key: str, count: int, byte: bytes = b"x") -> None:
        """The application writes so much, and the keeper takes it."""
        left = count
        while left:
            left -= os.write(self.writing[key], byte * min(left, 32 * KIB))
            self.outputs.drain(key)

    def size(self, *keys: str) -> int:
        paths = [Path(self.log(key) + suffix) for key in keys for suffix in ("", ".1")]
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        for key, descriptor in self.writing.items():
            os.close(descriptor)
            self.outputs.close(key)
        self.poll.close()


@pytest.fixture(name="writers")
def _writers(tmp_path: Path) -> Iterator[Writers]:
    made = Writers(tmp_path)
    yield made
    made.close()


def test_one_users_output_keeps_within_his_limit_and_he_alone_loses_some(writers: Writers) -> None:
    writers.outputs.budget.limit(3 * MIB, 100 * MIB)
    names = [f"alice-{n}" for n in range(8)]
    for name in names:
        writers.open(name, ALICE)
    writers.open("bob-1", BOB)
    writers.write("bob-1", 200 * KIB)
    for name in names:
        writers.write(name, 3 * MIB // 2)
        assert writers.size(*names) <= 3 * MIB
    assert writers.size(*names) > MIB
    assert writers.size("bob-1") == 200 * KIB
    assert set(writers.outputs.budget.dropped) == {ALICE}
    assert writers.outputs.bytes_lost == 0, "what is new is kept, what is old is dropped"


def test_the_newest_is_what_is_kept(writers: Writers) -> None:
    writers.outputs.budget.limit(MIB // 2, 100 * MIB)
    writers.open("a", ALICE)
    for byte in (b"1", b"2", b"3"):
        writers.write("a", MIB // 2 - 32 * KIB, byte)
    kept = Path(writers.log("a")).read_bytes()
    assert kept.endswith(b"3")
    assert b"1" not in kept


def test_all_users_together_leave_a_quarter_to_root(writers: Writers) -> None:
    """The one who has most loses some, not the one who comes last."""
    writers.outputs.budget.limit(100 * MIB, 4 * MIB)
    for name, uid, count in (("a", ALICE, 2 * MIB), ("b", BOB, 200 * KIB), ("c", CAROL, 2 * MIB), ("own", OWN, MIB)):
        writers.open(name, uid)
        writers.write(name, count)
        assert writers.size("a", "b", "c") <= 3 * MIB
        assert writers.size("a", "b", "c", "own") <= 4 * MIB
    assert writers.size("b") == 200 * KIB
    assert writers.size("own") == MIB
    assert BOB not in writers.outputs.budget.dropped


def test_a_new_keeper_counts_what_there_is(writers: Writers, tmp_path: Path) -> None:
    writers.open("a", OWN)
    writers.write("a", MIB)
    again = Outputs(writers.poll).budget
    again.take_stock(tmp_path)
    again.limit(100 * MIB, MIB + 10)
    assert again.has_room(OWN, 10)
    assert again.has_room(OWN, 11), "room was made"
    assert writers.size("a") == 0


def test_what_sam_has_removed_makes_room(writers: Writers) -> None:
    writers.outputs.budget.limit(MIB, 100 * MIB)
    writers.open("over", ALICE)
    writers.write("over", MIB // 2)
    os.close(writers.writing.pop("over"))
    writers.outputs.close("over")
    os.unlink(writers.log("over"))
    writers.open("a", ALICE)
    writers.write("a", MIB - 32 * KIB)
    assert not writers.outputs.budget.dropped


def test_on_a_full_disk_output_is_lost_and_then_goes_on(writers: Writers, monkeypatch: pytest.MonkeyPatch) -> None:
    writers.open("a", OWN)
    real_write = os.write

    def no_space(descriptor: int, data: bytes) -> int:
        if descriptor in writers.writing.values():
            return real_write(descriptor, data)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", no_space)
    writers.write("a", 100 * KIB)
    assert (writers.size("a"), writers.outputs.bytes_lost) == (0, 100 * KIB)
    monkeypatch.setattr(os, "write", real_write)
    writers.write("a", 10 * KIB)
    assert writers.size("a") == 10 * KIB


def test_a_file_that_cannot_be_turned_over_is_begun_again(writers: Writers, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for a new file: nothing that comes later may be lost for that."""
    writers.open("a", OWN)
    writers.write("a", FILE_BYTES_MAX - 10, b"1")

    def no_space(_path: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writers.outputs, "open_log", no_space)
    for byte in (b"2", b"3"):
        writers.write("a", FILE_BYTES_MAX // 2, byte)
    kept = Path(writers.log("a")).read_bytes()
    assert kept.endswith(b"3" * 1000)
    assert len(kept) <= FILE_BYTES_MAX
    assert not Path(writers.log("a") + ".1").exists()
