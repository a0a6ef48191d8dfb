"""What a page says to the others and takes from them, without a network."""

import dataclasses

from rondo.events import Member
from services.web.peers import FIGURES_S, LOG_S, LOOK_S, OWN_EVENTS_MAX, Peers
from services.web.wire import (
    EVENTS_MAX,
    INSTANCE_BYTES,
    Happened,
    LogLine,
    Told,
    pack_figures,
    pack_log,
    pack_look,
    pack_wanted,
    unpack_message,
)
from tests.unit.web.test_wire import EVENT, FIGURES

OWN, OTHER, THIRD = Member(1, 10), Member(2, 20), Member(3, 30)
OTHERS_INSTANCE, NEXT_INSTANCE = b"o" * INSTANCE_BYTES, b"n" * INSTANCE_BYTES


def joined(*members: Member) -> Peers:
    peers = Peers(bytes(INSTANCE_BYTES))
    peers.on_members(members or (OWN, OTHER, THIRD), OWN)
    return peers


def numbered(*numbers: int) -> list[Happened]:
    return [dataclasses.replace(EVENT, number=number) for number in numbers]


def told(data: bytes) -> list[int]:
    message = unpack_message(data)
    assert isinstance(message, Told)
    return [event.number for event in message.events]


def test_while_nobody_looks_nothing_is_said() -> None:
    peers = joined()
    assert peers.look(0.0, is_watched=False) is None
    assert not peers.are_figures_due(0.0)


def test_who_is_watched_says_so_now_and_then() -> None:
    peers = joined()
    assert peers.look(0.0, is_watched=True) == pack_look(is_new=True)
    assert peers.look(LOOK_S - 0.1, is_watched=True) is None
    assert peers.look(LOOK_S, is_watched=True) == pack_look(is_new=False)
    assert peers.look(LOOK_S + 0.1, is_watched=False) is None
    assert peers.look(LOOK_S + 0.2, is_watched=True) == pack_look(is_new=True)


def test_who_is_looked_at_answers_each_look_once_and_once_a_second_at_most() -> None:
    peers = joined()
    peers.on_message(OTHER, pack_look(is_new=True), 10.0)
    assert peers.are_figures_due(10.0)
    peers.figures(FIGURES, 10.0)
    assert not peers.are_figures_due(10.0 + 2 * FIGURES_S)
    peers.on_message(OTHER, pack_look(is_new=False), 10.0 + FIGURES_S / 2)
    assert not peers.are_figures_due(10.0 + FIGURES_S / 2)
    assert peers.are_figures_due(10.0 + FIGURES_S)


def test_when_something_has_happened_all_are_asked_at_once() -> None:
    peers = joined()
    peers.look(0.0, is_watched=True)
    peers.happened([])
    assert peers.look(0.1, is_watched=True) is None
    peers.happened(numbered(1))
    assert peers.look(0.2, is_watched=True) == pack_look(is_new=False)
    assert peers.look(0.3, is_watched=True) is None
    peers.on_members((OWN, OTHER), OWN)
    assert peers.look(0.4, is_watched=True) == pack_look(is_new=False)


def test_of_several_that_are_watched_one_says_so() -> None:
    peers = joined()
    assert peers.look(0.0, is_watched=True) is not None
    peers.on_message(OTHER, pack_look(is_new=False), LOOK_S - 1)
    assert peers.look(LOOK_S, is_watched=True) is None
    peers.look_at_once()
    assert peers.look(LOOK_S, is_watched=True) == pack_look(is_new=False)
    peers.on_message(OWN, pack_look(is_new=False), LOOK_S + 1)
    assert peers.look(2 * LOOK_S, is_watched=True) is not None


def test_of_several_pages_on_a_node_the_first_one_speaks() -> None:
    peers = joined(Member(1, 9), OWN, OTHER)
    peers.on_message(OTHER, pack_look(is_new=True), 0.0)
    assert not peers.are_figures_due(0.0)
    peers.on_members((OWN, OTHER), OWN)
    assert peers.are_figures_due(0.0)
    stranger = Member(2, 21)
    peers.on_members((OWN, OTHER, stranger), OWN)
    assert peers.on_message(stranger, pack_figures(OTHERS_INSTANCE, FIGURES, numbered(1)), 0.0) == []
    assert (peers.known, peers.refused["not the first of its node"]) == ({}, 1)


def test_figures_are_those_of_the_sender_s_node_until_its_page_is_gone() -> None:
    peers = joined()
    peers.on_message(OTHER, pack_figures(OTHERS_INSTANCE, FIGURES, []), 5.0)
    (shown,) = peers.as_json(7.5)
    assert (shown["node"], shown["age_seconds"], shown["name"], shown["links"]) == (
        2,
        2.5,
        "alpha",
        {"up": 3, "all": 4},
    )
    peers.on_members((OWN, THIRD), OWN)
    assert peers.as_json(7.5) == []
    assert peers.others() == {3}


def test_each_event_is_taken_once_also_when_it_is_sent_again() -> None:
    peers = joined()

    def take(instance: bytes, *numbers: int) -> list[int]:
        message = pack_figures(instance, FIGURES, numbered(*numbers))
        return [event.number for event in peers.on_message(OTHER, message, 0.0)]

    assert take(OTHERS_INSTANCE, 1, 2) == [1, 2]
    assert take(OTHERS_INSTANCE, 1, 2, 3) == [3]
    assert take(NEXT_INSTANCE, 1, 2) == [1, 2]


def test_events_are_told_once_and_again_to_who_looks_anew() -> None:
    peers = joined()
    peers.happened(numbered(*range(1, OWN_EVENTS_MAX + 11)))
    first = told(peers.figures(FIGURES, 0.0))
    assert first == list(range(11, 11 + EVENTS_MAX))
    assert peers.are_figures_due(FIGURES_S), "there are more events than one message has"
    assert told(peers.figures(FIGURES, 1.0)) == list(range(11 + EVENTS_MAX, 11 + 2 * EVENTS_MAX))
    peers.on_message(THIRD, pack_look(is_new=True), 2.0)
    assert told(peers.figures(FIGURES, 2.0)) == first


def test_a_log_is_said_when_it_is_asked_for_and_once_a_second_at_most() -> None:
    peers, lines = joined(), (LogLine("totem", "a line"),)
    assert not peers.is_log_due(0.0)
    peers.on_message(OTHER, pack_wanted(THIRD.node), 0.0)
    assert not peers.is_log_wanted
    peers.on_message(OTHER, pack_wanted(OWN.node), 0.0)
    peers.on_message(THIRD, pack_wanted(OWN.node), 0.0)
    assert peers.is_log_due(0.0)
    assert peers.log(lines, 0.0) == pack_log(lines)
    assert not peers.is_log_due(LOG_S)
    peers.on_message(OTHER, pack_wanted(OWN.node), 0.1)
    assert not peers.is_log_due(LOG_S - 0.1)
    assert peers.is_log_due(LOG_S)


def test_of_several_pages_on_a_node_the_first_one_says_its_log() -> None:
    peers = joined(Member(1, 9), OWN, OTHER)
    peers.on_message(OTHER, pack_wanted(OWN.node), 0.0)
    assert not peers.is_log_due(0.0)


def test_a_log_is_kept_while_somebody_here_waits_for_it() -> None:
    peers, lines = joined(OWN, OTHER, Member(2, 21)), (LogLine("totem", "a line"),)
    peers.on_message(OTHER, pack_log(lines), 0.0)
    assert peers.awaited_logs == {}
    peers.awaited_logs[2] = None
    peers.on_message(Member(2, 21), pack_log(lines), 0.0)
    assert (peers.awaited_logs, peers.refused["not the first of its node"]) == ({2: None}, 1)
    peers.on_message(OTHER, pack_log(lines), 0.0)
    assert peers.awaited_logs == {2: lines}


def test_what_is_none_is_counted_and_changes_nothing() -> None:
    peers = joined()
    for data in (b"", b"\xff", b"\x93" * 100):
        assert peers.on_message(OTHER, data, 0.0) == []
    assert (peers.refused["malformed"], peers.known) == (3, {})
