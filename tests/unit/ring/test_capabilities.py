"""What Rondo nodes say of themselves, and what of it is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.ring.capabilities import MAGIC, Announcement, Capability, decode, encode
from services.totem.wire.base import RingId
from services.totem.wire.syncmsg import SERVICE_BUILD_SIZE, ServiceBuild, decode_sync, encode_service_build

ALL = ~Capability(0)


@given(
    bits=st.integers(0, int(ALL)),
    packets=st.integers(0, 2**31 - 1),
    window=st.integers(0, 99),
    services=st.integers(0, 100),
)
def test_what_is_announced_is_understood(bits: int, packets: int, window: int, services: int) -> None:
    told = Announcement(Capability(bits), packets, window)
    sent = encode_service_build(ServiceBuild(RingId(1, 4), tuple(range(services)), encode(told)))
    assert len(sent) == SERVICE_BUILD_SIZE
    build = decode_sync(sent)
    assert isinstance(build, ServiceBuild)
    assert build.services == tuple(range(services))
    assert decode(build.tail) == told


def test_a_later_version_with_more_to_say_is_understood_as_far_as_it_is_known() -> None:
    told = decode((MAGIC, 9, 0x7FFFFFFF, 100, 7, 4711, 4712))
    assert told == Announcement(ALL, 100, 7, 9)


@pytest.mark.parametrize("tail", [(), (MAGIC,), (MAGIC, 0, 7), (MAGIC + 1, 1, 7, 100, 10), (0, MAGIC, 1, 7)])
def test_others_are_not_rondo(tail: tuple[int, ...]) -> None:
    assert decode(tail) is None


def test_nonsense_is_bounded() -> None:
    assert decode((MAGIC, 1, -1, -5, -7)) == Announcement(ALL, 0, 0, 1)
