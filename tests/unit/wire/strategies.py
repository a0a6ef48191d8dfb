"""Hypothesis strategies: any value that the wire can carry, for each message."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from services.totem.wire.base import RingId
from services.totem.wire.frames import (
    BOX_SIZE,
    ENCAPSULATED,
    PLAIN,
    PROCESSORS_MAX,
    PUBLIC_SIZE,
    RTR_ENTRIES_RONDO_MAX,
    Commit,
    CommitEntry,
    Frame,
    HoldCancel,
    Join,
    Mcast,
    Merge,
    Token,
    encode_mcast,
)
from services.totem.wire.syncmsg import SERVICE_IDS_MAX, Barrier, ServiceBuild

reproducible = settings(derandomize=True, deadline=None, database=None, max_examples=150)
"""The same examples on every run and machine: a failure here is always a change in the code."""

u8 = st.integers(0, 0xFF)
u32 = st.integers(0, 0xFFFF_FFFF)
u64 = st.integers(0, 0xFFFF_FFFF_FFFF_FFFF)
i32 = st.integers(-0x8000_0000, 0x7FFF_FFFF)
rings = st.builds(RingId, u32, u64)
nodes = st.lists(u32, max_size=20).map(tuple) | st.integers(0, PROCESSORS_MAX).map(lambda n: tuple(range(n)))

tokens = st.builds(
    Token, u32, u32, u32, u32, u32, rings, u32, u32, u32,
    st.lists(st.tuples(rings, u32), max_size=RTR_ENTRIES_RONDO_MAX),
)  # fmt: skip
publics = st.binary(min_size=PUBLIC_SIZE, max_size=PUBLIC_SIZE)
joins = st.builds(Join, u32, u32, nodes, nodes, u64) | st.builds(
    Join, u32, u32, nodes, nodes, u64, publics, st.booleans()
)
merges = st.builds(Merge, u32, u32, rings)
hold_cancels = st.builds(HoldCancel, u32, rings)


@st.composite
def mcasts(draw: st.DrawFn) -> Mcast:
    """An mcast with the frame that belongs to its fields."""
    sender, seq, this_seqno, ring = draw(u32), draw(u32), draw(u32), draw(rings)
    node_id, guarantee = draw(u32), draw(u32)
    encapsulated = draw(st.sampled_from([PLAIN, ENCAPSULATED]))
    frame = encode_mcast(
        sender, seq, this_seqno, ring, draw(st.binary(max_size=100)),
        encapsulated=encapsulated, node_id=node_id, guarantee=guarantee,
    )  # fmt: skip
    return Mcast(sender, sender, seq, this_seqno, ring, node_id, guarantee, encapsulated, frame)


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    """A commit token with as many entries as members, filled up to any of them."""
    addrs = draw(nodes.filter(bool))
    few = draw(st.lists(st.builds(CommitEntry, rings, u32, u32, u32), min_size=1, max_size=4))
    entries = [few[i % len(few)] for i in range(len(addrs))]
    few_publics = draw(st.lists(publics, max_size=3))
    return Commit(
        draw(u32), draw(u32), draw(rings), addrs, entries,
        memb_index=draw(st.integers(0, len(addrs))), retrans_flg=draw(u32),
        publics=tuple(few_publics[i % len(few_publics)] for i in range(len(addrs))) if few_publics else (),
        box=draw(st.binary(min_size=BOX_SIZE, max_size=BOX_SIZE)) if few_publics else b"",
    )  # fmt: skip


frames: st.SearchStrategy[Frame] = st.one_of(tokens, mcasts(), joins, commits(), merges, hold_cancels)

packets = st.tuples(u8, u8, st.lists(st.binary(max_size=40), min_size=1, max_size=12))
barriers = st.builds(Barrier, rings)


@st.composite
def service_builds(draw: st.DrawFn) -> ServiceBuild:
    """A BUILD whose tail, as decoders give it, does not end in a zero."""
    services = draw(st.lists(i32, max_size=SERVICE_IDS_MAX))
    tail = draw(st.lists(i32, max_size=SERVICE_IDS_MAX - len(services)))
    while tail and tail[-1] == 0:
        tail.pop()
    return ServiceBuild(draw(rings), tuple(services), tuple(tail))
