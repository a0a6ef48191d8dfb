"""Log lines: Corosync's wording, one line for each event, and never too many."""

from __future__ import annotations

import logging

import pytest

from services.totem.logtext import BURST, INTERVAL_NS, LineBudget, LogText
from services.totem.ring.events import (
    GatherReason,
    Notice,
    NoticeCode,
    RegularConfiguration,
    State,
    SyncComplete,
    TransitionalConfiguration,
)
from services.totem.wire.base import RingId

RING = RingId(1, 12)
SECOND_NS = 1_000_000_000
NOTICES = {
    Notice(NoticeCode.GATHER, (State.OPERATIONAL, GatherReason.JOIN_DURING_OPERATIONAL)): (
        "entering GATHER state from 12(join during operational)."
    ),
    Notice(NoticeCode.COMMIT, (RING, (1, 2))): "entering COMMIT state, ring 1.c: 1 2",
    Notice(NoticeCode.RECOVERY, (RING, (1,))): "entering RECOVERY state, ring 1.c: 1",
    Notice(NoticeCode.PROCESSOR_FAILED): "A processor failed, forming new configuration.",
    Notice(NoticeCode.CONSENSUS_FAILED, ((2, 3),)): "No agreement with nodes 2 3, they are out.",
    Notice(NoticeCode.FAILED_WITHOUT_LEAVE, ((2, 3),)): "Failed to receive the leave message. failed: 2 3",
    Notice(NoticeCode.TOKEN_LATE, (2250,)): "Token has not been received in 2250 ms",
    Notice(NoticeCode.PAUSED, (4000,)): "Process pause detected for 4000 ms, flushing membership messages.",
    Notice(NoticeCode.RETRANSMIT, ((10, 11, 255),)): "Retransmit List: a b ff",
    Notice(NoticeCode.FAILED_TO_RECEIVE): "FAILED TO RECEIVE",
    Notice(NoticeCode.CANNOT_FORM, (10,)): (
        "Totem is unable to form a cluster because of an operating system or network fault. The most common cause of "
        "this message is that the local firewall is configured improperly."
    ),
    Notice(NoticeCode.SECRECY_DIFFERS, (3, True)): (
        "No ring is formed with node 3: it has no forward secrecy (an earlier version, or forward_secrecy: no), "
        "and totem.forward_secrecy: yes, here or at another member, asks for it."
    ),
    Notice(NoticeCode.SECRECY_DIFFERS, (3, False)): (
        "No ring is formed with node 3: it asks for forward secrecy, which is switched off here."
    ),
    Notice(NoticeCode.LEAVE_RECEIVED, (3,)): "Node 3 leaves.",
}


def test_every_notice_has_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert {notice.code for notice in NOTICES} == set(NoticeCode)
    text = LogText()
    for notice in NOTICES:
        text.tell(notice, SECOND_NS)
    assert caplog.messages == list(NOTICES.values())


@pytest.mark.parametrize(
    ("joined", "left", "line"),
    [
        ((2, 3), (4,), "A new membership (1.c) was formed. Members joined: 2 3 left: 4"),
        ((2,), (), "A new membership (1.c) was formed. Members joined: 2"),
        ((), (4,), "A new membership (1.c) was formed. Members left: 4"),
        ((), (), "A new membership (1.c) was formed. Members"),
    ],
)
def test_membership(
    caplog: pytest.LogCaptureFixture, joined: tuple[int, ...], left: tuple[int, ...], line: str
) -> None:
    caplog.set_level(logging.INFO)
    text = LogText()
    text.tell(RegularConfiguration(RingId(1, 8), (1,), (), ()), 0)
    text.tell(TransitionalConfiguration(RingId(1, 8), RING, (1,), left), 0)
    text.tell(RegularConfiguration(RING, (1, 2, 3), joined, left), 0)
    text.tell(SyncComplete(RING), 0)
    assert caplog.record_tuples == [
        ("TOTEM", 25, "A new membership (1.8) was formed. Members joined: 1"),
        ("TOTEM", 25, line),
        ("MAIN", 25, "Completed service synchronization, ready to provide service."),
    ]


def test_a_flood_of_events_is_a_bounded_number_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    text = LogText()
    for tenth in range(1000):
        text.tell(Notice(NoticeCode.PROCESSOR_FAILED), tenth * SECOND_NS // 10)
        for seq in range(10):
            text.tell(Notice(NoticeCode.RETRANSMIT, ((seq,),)), tenth * SECOND_NS // 10)
    failed = [line for line in caplog.messages if line.startswith("A processor failed")]
    lists = [line for line in caplog.messages if line.startswith("Retransmit List")]
    assert 100 <= len(failed) <= 100 + BURST
    assert len(lists) == 100
    assert lists[1] == "Retransmit List: 0 (99 such lines were left out)"


def test_a_budget_lets_a_burst_through_and_fills_again() -> None:
    budget = LineBudget(3, INTERVAL_NS)
    assert [budget.take(0) for _ in range(5)] == [0, 0, 0, None, None]
    assert budget.take(INTERVAL_NS) == 2
    assert budget.take(INTERVAL_NS) is None
    assert [budget.take(100 * INTERVAL_NS) for _ in range(4)] == [1, 0, 0, None]
