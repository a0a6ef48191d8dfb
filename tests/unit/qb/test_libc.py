"""Semaphores in memory that somebody else writes to."""

import ctypes
import random
import threading

import pytest

from services.qb_gateway.libc import SharedSemaphore

BYTES = 32


def test_it_counts() -> None:
    memory = ctypes.create_string_buffer(BYTES)
    semaphore = SharedSemaphore(ctypes.addressof(memory))
    assert semaphore.is_zero()
    semaphore.post(3)
    assert [semaphore.take() for _ in range(4)] == [True, True, True, False]
    semaphore.post(5000)
    assert sum(1 for _ in range(6000) if semaphore.take()) == 5000


def test_a_waiting_thread_of_libc_is_woken() -> None:
    memory = ctypes.create_string_buffer(BYTES)
    semaphore = SharedSemaphore(ctypes.addressof(memory))
    woken: list[int] = []
    libc = ctypes.CDLL(None)

    def wait() -> None:
        woken.append(libc.sem_wait(memory))

    waiter = threading.Thread(target=wait)
    waiter.start()
    semaphore.post(1)
    waiter.join(30)
    assert woken == [0]


@pytest.mark.parametrize("seed", range(200))
def test_nothing_that_stands_there_ends_the_process_or_makes_it_wait(seed: int) -> None:
    memory = ctypes.create_string_buffer(BYTES)
    semaphore = SharedSemaphore(ctypes.addressof(memory))
    rng = random.Random(seed)
    ctypes.memmove(memory, rng.randbytes(BYTES), BYTES)
    semaphore.post(rng.choice((1, 3000)))
    semaphore.take()
    semaphore.is_zero()
