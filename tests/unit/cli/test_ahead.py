"""Who sends waits for who takes, and for nothing else."""

import threading

from rondo.cli.ahead import Ahead


def test_the_sender_waits_while_too_much_was_not_taken() -> None:
    ahead = Ahead(100)
    sent: list[int] = []

    def send() -> None:
        for number in range(4):
            ahead.sending(60)
            sent.append(number)

    sender = threading.Thread(target=send)
    sender.start()
    sender.join(0.1)
    assert sent == [0, 1]
    ahead.took(60)
    sender.join(0.1)
    assert sent == [0, 1, 2]
    ahead.forget()
    sender.join(10)
    assert sent == [0, 1, 2, 3]


def test_what_is_larger_than_the_bound_has_room_when_nothing_else_waits() -> None:
    ahead = Ahead(100)
    ahead.sending(1000)


def test_nobody_waits_once_it_is_over() -> None:
    ahead = Ahead(100)
    ahead.sending(100)
    ahead.over()
    ahead.sending(100)
