"""The writes of one turn are one, in their order, and none is lost or comes late."""

from __future__ import annotations

import asyncio
from typing import cast

from services.web.joined import JoinedWrites


class Transport:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def is_closing(self) -> bool:
        return bool({"close", "abort"}.intersection(map(str, self.told)))

    def get_write_buffer_size(self) -> int:
        return 17


def told(*turns: str) -> list[bytes | str]:
    """What a transport is told in these turns: letters are written, C closes, A aborts."""

    async def run() -> list[bytes | str]:
        transport = Transport()
        joined = JoinedWrites(cast("asyncio.Transport", transport), asyncio.get_running_loop())
        assert joined.get_write_buffer_size() == 17, "the rest is the transport's own"
        for turn in turns:
            for each in turn:
                if each == "C":
                    joined.close()
                elif each == "A":
                    joined.abort()
                else:
                    joined.write(each.encode())
            await asyncio.sleep(0)
        return transport.told

    return asyncio.run(run())


def test_the_writes_of_a_turn_are_one() -> None:
    assert told("ab", "", "c", "de") == [b"ab", b"c", b"de"]


def test_what_was_written_goes_out_before_the_end() -> None:
    assert told("ab", "cC", "") == [b"ab", b"c", "close"]


def test_nothing_goes_out_after_an_abort() -> None:
    assert told("abA", "") == ["abort"]
    assert told("aC", "b", "") == [b"a", "close"]
