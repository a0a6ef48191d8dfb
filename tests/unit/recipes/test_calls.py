"""When a command goes at once, and when it waits to travel with others."""

from __future__ import annotations

from rondo.recipes.core.calls import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, FEW_COMMANDS, MESSAGES_MAX, Calls
from rondo.recipes.core.wire import Commands


def sent(calls: Calls) -> list[Commands]:
    """What goes now."""
    return [message for message in calls.messages() if isinstance(message, Commands)]


def each_alone(calls: Calls, count: int, size: int = 10) -> list[Commands]:
    """So many callers, one after the other: what goes."""
    found = []
    for _ in range(count):
        calls.add(bytes(size))
        found += sent(calls)
    return found


def test_the_commands_of_few_callers_go_at_once() -> None:
    assert [len(message.items) for message in each_alone(Calls(b"me"), FEW_COMMANDS)] == [1] * FEW_COMMANDS


def test_the_commands_of_many_callers_travel_together() -> None:
    calls = Calls(b"me")
    on_the_way = each_alone(calls, 100)
    assert len(on_the_way) == FEW_COMMANDS
    calls.came_back(on_the_way[0].stamp)
    (message,) = sent(calls)
    assert [number for number, _ in message.items] == list(range(FEW_COMMANDS + 1, 101))
    for each in on_the_way[1:]:
        calls.came_back(each.stamp)
    assert each_alone(calls, 10) == [], "those of the large message are on their way"
    calls.came_back(message.stamp)
    assert [len(each.items) for each in sent(calls)] == [10]


def test_a_message_that_comes_back_twice_counts_once() -> None:
    calls = Calls(b"me")
    on_the_way = each_alone(calls, FEW_COMMANDS)
    calls.came_back(on_the_way[0].stamp)
    calls.came_back(on_the_way[0].stamp)
    assert len(each_alone(calls, 2)) == 1


def test_what_fills_a_message_waits_for_nobody() -> None:
    """Else large commands would be slow for want of small ones."""
    calls = Calls(b"me")
    each_alone(calls, FEW_COMMANDS)
    assert each_alone(calls, 3, BATCH_BYTES_MAX // 4) == []
    assert [len(message.items) for message in each_alone(calls, 1, BATCH_BYTES_MAX // 4)] == [4]
    assert [len(message.items) for message in each_alone(calls, BATCH_COMMANDS_MAX)] == [BATCH_COMMANDS_MAX]
    more = each_alone(calls, 2 * MESSAGES_MAX, BATCH_BYTES_MAX)
    assert len(more) == MESSAGES_MAX - FEW_COMMANDS - 2, "up to so many messages"


def test_what_nobody_waits_for_any_more_does_not_go() -> None:
    calls = Calls(b"me")
    on_the_way = each_alone(calls, FEW_COMMANDS)
    numbers = [calls.add(bytes(BATCH_BYTES_MAX // 4)) for _ in range(3)]
    calls.forget(numbers[0])
    calls.came_back(on_the_way[0].stamp)
    (message,) = sent(calls)
    assert [number for number, _ in message.items] == numbers[1:]


def test_all_begins_anew_once_it_has_to_be_sent_again() -> None:
    calls = Calls(b"me")
    each_alone(calls, FEW_COMMANDS + 5)
    calls.send_again(but=[1, 2])
    (message,) = sent(calls)
    assert [number for number, _ in message.items] == list(range(3, FEW_COMMANDS + 6))
    assert each_alone(calls, 1) == []
