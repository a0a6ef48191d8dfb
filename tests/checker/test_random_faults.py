"""Whatever is done to the deliveries and configurations of a good trace, some property notices.

Some changes make another good trace: a node may lack what it was about to deliver when it failed, and so on. What those
are is said by `is_harmless`; nothing else may pass.
"""

from __future__ import annotations

import copy

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.checker import Event, check
from tests.checker.stories import LIMITS, story
from tests.checker.trace import Trace

SEEDS = range(12)
TRACES = {seed: story(seed) for seed in SEEDS}


def _indices(events: list[Event], kind: str) -> list[int]:
    return [index for index, event in enumerate(events) if event["ev"] == kind]


def may_be_missing(events: list[Event], index: int) -> bool:
    """Whether a delivery may be left out, because its node does not have to agree with anybody on it.

    In a ring that its node did not leave alive, that is a message after which it delivers nothing more there. In a ring
    that it left, a message of somebody who was not in its transitional set, if nobody came along with it, it delivers
    no more in the regular configuration, and nothing later of the same sender; of other senders only if it was in
    Recovery before in vain, and may owe it to them. And no later SAFE message may show it to be stable.
    """
    trace = Trace(events)
    delivery = next(one for one in trace.deliveries() if one.index == index)
    stay, sent = delivery.stay, delivery.sent
    assert stay is not None
    assert sent is not None
    later = [one for one in stay.delivered.values() if one.index > index]
    if stay.following is None:
        return stay.incarnation.ended is not None and not later
    companions = [
        other
        for other in trace.stays_by_ring()[stay.ring]
        if other is not stay and other.trans and stay.trans and other.trans["cfg"] == stay.trans["cfg"]
    ]
    if sent.sender in stay.trans_members and (later or sent.sender == stay.node):
        return False
    stable = any(
        other.sent is not None and other.sent.safe and other.sent.ring == stay.ring and other.sent.rank > sent.rank
        for other in trace.deliveries()
        if not other.transitional
    )
    in_vain = sum(came_from is stay for _, _, came_from in stay.incarnation.recoveries) > 1
    return not (companions or stable) and all(
        one.transitional and one.msg[0] != sent.sender and (one.msg[0] == stay.node or in_vain) for one in later
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.sampled_from(SEEDS), pick=st.integers(0, 10**6))
def test_a_lost_delivery_is_noticed(seed: int, pick: int) -> None:
    events = list(TRACES[seed])
    indices = _indices(events, "deliver")
    index = indices[pick % len(indices)]
    assume(not may_be_missing(events, index))
    del events[index]
    assert check(events, limits=LIMITS)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.sampled_from(SEEDS), pick=st.integers(0, 10**6))
def test_a_repeated_delivery_is_noticed(seed: int, pick: int) -> None:
    events = list(TRACES[seed])
    indices = _indices(events, "deliver")
    index = indices[pick % len(indices)]
    events.insert(index + 1, events[index])
    assert {"C5"} == {violation.prop for violation in check(events, limits=LIMITS)}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.sampled_from(SEEDS), pick=st.integers(0, 10**6))
def test_swapped_deliveries_are_noticed(seed: int, pick: int) -> None:
    events = list(TRACES[seed])
    indices = _indices(events, "deliver")
    first = indices[pick % len(indices)]
    later = [index for index in indices if index > first and events[index]["node"] == events[first]["node"]]
    assume(later)
    assume(events[later[0]]["inc"] == events[first]["inc"])
    events[first], events[later[0]] = events[later[0]], events[first]
    assert check(events, limits=LIMITS)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.sampled_from(SEEDS),
    pick=st.integers(0, 10**6),
    other=st.integers(0, 10**6),
    key=st.sampled_from(("msg", "cfg", "ring", "seq", "hash", "size", "level", "node")),
)
def test_a_relabelled_delivery_is_noticed(seed: int, pick: int, other: int, key: str) -> None:
    """One field of a delivery is taken from another delivery."""
    events = list(TRACES[seed])
    indices = _indices(events, "deliver")
    index = indices[pick % len(indices)]
    source = events[indices[other % len(indices)]]
    assume(source[key] != events[index][key])
    events[index] = events[index] | {key: source[key]}
    assert check(events, limits=LIMITS)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.sampled_from(SEEDS), pick=st.integers(0, 10**6))
def test_a_lost_configuration_is_noticed(seed: int, pick: int) -> None:
    """Unless it was the last thing its node did before it failed."""
    events = list(TRACES[seed])
    indices = _indices(events, "conf")
    index = indices[pick % len(indices)]
    life = (events[index]["node"], events[index]["inc"])
    heard = {"conf", "send", "deliver"}
    rest = [event for event in events[index + 1 :] if (event["node"], event["inc"]) == life]
    ended = any(event["ev"] in ("fail", "stop") for event in rest)
    assume(not ended or any(event["ev"] in heard for event in rest))
    del events[index]
    assert check(events, limits=LIMITS)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.sampled_from(SEEDS), pick=st.integers(0, 10**6))
def test_a_repeated_configuration_is_noticed(seed: int, pick: int) -> None:
    events = list(TRACES[seed])
    indices = _indices(events, "conf")
    index = indices[pick % len(indices)]
    events.insert(index + 1, events[index])
    assert check(events, limits=LIMITS)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.sampled_from(SEEDS),
    pick=st.integers(0, 10**6),
    key=st.sampled_from(("members", "left", "joined")),
    node=st.integers(1, 5),
)
def test_a_wrong_list_in_a_configuration_is_noticed(seed: int, pick: int, key: str, node: int) -> None:
    """A node is taken out of a list, or put into it. (`left` of a regular configuration may be empty.)"""
    events = list(TRACES[seed])
    indices = [index for index in _indices(events, "conf") if key in events[index]]
    conf = copy.deepcopy(events[indices[pick % len(indices)]])
    nodes = set(conf[key]) ^ {node}
    assume(key != "left" or conf["kind"] == "trans" or nodes)
    conf[key] = sorted(nodes)
    events[indices[pick % len(indices)]] = conf
    assert check(events, limits=LIMITS)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.sampled_from(SEEDS), pick=st.integers(0, 10**6))
def test_swapped_configurations_are_noticed(seed: int, pick: int) -> None:
    events = list(TRACES[seed])
    indices = _indices(events, "conf")
    first = indices[pick % len(indices)]
    later = [index for index in indices if index > first and events[index]["node"] == events[first]["node"]]
    assume(later)
    events[first], events[later[0]] = events[later[0]], events[first]
    assert check(events, limits=LIMITS)
