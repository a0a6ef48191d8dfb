"""Who sends waits for who takes, and for nothing else."""

import threading

from rondo.cli.ahead import Ahead
from rondo.testing.lab.waiting import wait_for


def test_the_sender_waits_while_too_much_was_not_taken() -> None:
    ahead = Ahead(100)
    sent: list[int] = []

    def send() -> None:
        for number in range(4):
            ahead.sending(60)
            sent.append(number)

    sender = threading.Thread(target=send)
    sender.start()
    wait_for(lambda: len(sent), lambda count: count >= 2, "it sends what there is room for", 60)
    sender.join(0.1)
    assert sent == [0, 1]
    ahead.took(60)
    wait_for(lambda: len(sent), lambda count: count >= 3, "it sends one more", 60)
    sender.join(0.1)
    assert sent == [0, 1, 2]
    ahead.forget()
    sender.join(60)
    assert sent == [0, 1, 2, 3]


def test_what_is_larger_than_the_bound_has_room_when_nothing_else_waits() -> None:
    ahead = Ahead(100)
    ahead.sending(1000)


def test_nobody_waits_once_it_is_over() -> None:
    ahead = Ahead(100)
    ahead.sending(100)
    ahead.over()
    ahead.sending(100)
