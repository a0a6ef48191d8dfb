"""What waits to be told: in order, tried again some times, bounded; and how far it has got, over restarts."""

from pathlib import Path

import pytest

from rondo.config.option import KINDS as KINDS_OF_OPTION
from rondo.timeline.kinds import KINDS as EVENTS
from services.notify.position import FILE_NAME, Position
from services.notify.queue import ATTEMPTS_MAX, KINDS, RETRY_S, WAITING_MAX, Notice, Queue, kind_of


def notice(number: int) -> Notice:
    return Notice(float(number), "node", {"event": "node.left", "number": number})


def test_one_after_another_in_their_order() -> None:
    queue = Queue()
    assert queue.next(0.0) is None
    assert queue.due_s is None
    for number in (1, 2):
        assert queue.add(notice(number))
    assert queue.next(0.0) == notice(1)
    assert queue.settle(0.0, is_told=True) == notice(1)
    assert queue.next(0.0) == notice(2)
    assert queue.settle(0.0, is_told=True) == notice(2)
    assert (len(queue), queue.counters["told"]) == (0, 2)


def test_what_fails_is_tried_again_later_and_then_given_up() -> None:
    queue = Queue()
    queue.add(notice(1))
    queue.add(notice(2))
    now_s = 0.0
    for wait_s in RETRY_S:
        assert queue.settle(now_s, is_told=False) is None
        assert queue.next(now_s + wait_s - 0.1) is None
        now_s += wait_s
        assert queue.due_s == now_s
        assert queue.next(now_s) == notice(1)
    assert queue.settle(now_s, is_told=False) == notice(1)
    assert queue.next(now_s) == notice(2), "the next one does not wait for the failure of the one before"
    assert queue.counters == {"told": 0, "attempts_failed": ATTEMPTS_MAX, "given_up": 1, "dropped": 0}
    assert queue.settle(now_s, is_told=False) is None, "and has all its attempts"


def test_it_is_bounded() -> None:
    queue = Queue()
    taken = [queue.add(notice(number)) for number in range(WAITING_MAX + 3)]
    assert taken == [True] * WAITING_MAX + [False] * 3
    assert queue.counters["dropped"] == 3
    assert queue.next(0.0) == notice(0)


def test_kinds() -> None:
    assert tuple(KINDS) == KINDS_OF_OPTION
    names = {event.name for event in EVENTS}
    assert all(any(name.startswith(each) for name in names) for beginnings in KINDS.values() for each in beginnings)
    names_of_some = ("ring.formed", "quorum.lost", "application.event", "link.down", "path.good")
    assert [kind_of(name) for name in names_of_some] == ["node", "quorum", "application", "link", "link"]
    assert kind_of("ring.token_late") is None
    assert kind_of("process.started") is None


def test_a_successor_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Position(tmp_path, 10.0)
    times = [9.0, 10.0, 11.0, 12.0, 12.0, 12.0, 13.0]
    assert [first.is_new(each) for each in times] == [False] + [True] * 6
    for each in (10.0, 11.0, 12.0, 12.0):
        first.settle(each)
    second = Position(tmp_path, 10.0)
    assert [second.is_new(each) for each in times] == [False, False, False, False, False, True, True]
    assert [Position(tmp_path, 20.0).is_new(each) for each in (12.0, 19.0, 20.0)] == [False, False, True]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": "x", "settled": 1}', '{"seconds": null}'])
def test_a_damaged_file_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    assert [Position(tmp_path, 5.0).is_new(each) for each in (4.0, 5.0)] == [False, True]
