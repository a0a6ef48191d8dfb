"""Lines in FIFOs, looked at all together."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sam.health import FLOOD_S, LINE_BYTES_MAX, HealthError, HealthPipes
from services.sam.keeper.output import make_fifo


@pytest.fixture
def pipes() -> Iterator[HealthPipes]:
    made = HealthPipes()
    yield made
    made.close_all()


@pytest.fixture
def writer(tmp_path: Path, pipes: HealthPipes) -> Iterator[int]:
    path = str(tmp_path / "a.health")
    make_fifo(path, os.geteuid())
    pipes.open("a", path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def words(pipes: HealthPipes, now_s: float = 0.0) -> list[str]:
    return [word for name, said in pipes.look(now_s) for word in said if name == "a"]


def test_words_in_the_order_in_which_they_were_said_last(pipes: HealthPipes, writer: int) -> None:
    assert words(pipes) == []
    os.write(writer, b"ok\n")
    assert words(pipes) == ["ok"]
    os.write(writer, b"ok\nok\n START \r\nok\nfailed\n")
    assert words(pipes) == ["start", "ok", "failed"]


def test_half_a_line_waits_for_its_end(pipes: HealthPipes, writer: int) -> None:
    os.write(writer, b"o")
    assert words(pipes) == []
    os.write(writer, b"k\nst")
    assert words(pipes) == ["ok"]
    os.write(writer, b"op\n")
    assert words(pipes) == ["stop"]


def test_a_line_without_end_takes_no_memory(pipes: HealthPipes, writer: int) -> None:
    for _ in range(50):
        os.write(writer, b"x" * 1000)
        words(pipes)
    os.write(writer, b"\nok\n")
    *junk, last = words(pipes)
    assert last == "ok"
    assert all(len(each) <= LINE_BYTES_MAX + 1000 for each in junk)


def test_a_flood_costs_a_bounded_look_and_delays_itself_alone(pipes: HealthPipes, writer: int, tmp_path: Path) -> None:
    """An application that never stops saying something is read a page at a time, and then not for a while."""
    path = str(tmp_path / "calm.health")
    make_fifo(path, os.geteuid())
    pipes.open("calm", path)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"start\nstop\n" * 100)
    with open(path, "r+b", buffering=0) as calm:
        calm.write(b"ok\n")
        said = dict(pipes.look(0.0))
        assert said["calm"] == ["ok"]
        assert len(said["a"]) <= 4, "each word once, and what a page cut off"
        with contextlib.suppress(BlockingIOError):
            os.write(writer, b"start\nstop\n")
        calm.write(b"ok\n")
        assert dict(pipes.look(FLOOD_S / 2)) == {"calm": ["ok"]}
    assert set(dict(pipes.look(FLOOD_S))) == {"a"}
    assert pipes.floods >= 1


def test_what_a_dead_instance_said_is_dropped(pipes: HealthPipes, writer: int) -> None:
    os.write(writer, b"failed\nhal")
    pipes.drop("a")
    os.write(writer, b"ok\n")
    assert words(pipes) == ["ok"]


def test_only_fifos(pipes: HealthPipes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("ok\n")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link", "missing"):
        with pytest.raises(HealthError):
            pipes.open("b", str(tmp_path / name))
    with pytest.raises(OSError, match="not a FIFO"):
        make_fifo(str(tmp_path / "file"), os.geteuid())
