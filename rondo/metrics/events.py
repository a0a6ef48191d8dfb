"""Counters of the services that have no metric of their own. One metric has them all; the table here explains each.

A counter that is not in the table, as that of a newer service, is shown without an explanation.
"""

from __future__ import annotations

from functools import lru_cache

from rondo.metrics import groups, processes, ring
from rondo.metrics.metric import PLACES_KEPT_MAX, Key, Kind, Metric, Values, key_of
from rondo.metrics.seen import Seen

_TOTEM = {
    "mcast_after_token_tx": "packets that were sent behind the token (accelerated ring)",
    "mcast_late_rx": "packets of the ring that this one has replaced",
    "consensus_early": "members given up before the consensus time-out, because all others agreed",
    "stranger_early": "joins and packets of other rings while some members were about to install this one",
    "stranger_estranged": "joins and packets of nodes with which no ring comes about",
    "join_flushed": "joins thrown away because this process had been paused",
    "member_unreachable": "members given up because their port is closed",
    "unreachable_port": "notices that a node's port is closed",
    "lives_begun": "how often this process found itself to be a copy",
    "token_read_first": "tokens that were read before the packets that had come earlier",
    "tx_no_address": "packets for nodes whose address is not known",
    "filter_refused": "times that the kernel took no filter of addresses",
    "floods_sieved": "times that a flood from a node's address was left to the kernel for a while",
    "bus_refused": "envelopes of cpg or control that were malformed",
    "bus_stranger": "envelopes of a reader of the log that is not the present one",
    "foreign_service": "messages of a service that is not here",
    "rx_turn_ended": "turns in which more had come than is read at a time",
    "knet_doubts": "times that a host was pinged out of turn, because a token came over another link alone",
    "knet_links_down_by_doubt": "links that went down for that, before their ping time-out",
    "knet_links_down_by_silence": "links that went down because no pong came for their ping time-out",
    "knet_hosts_begun_anew": "times that a ping said that another node begins to count its packets anew",
    "knet_rx_copies": "packets that had come over another link",
    "knet_tx_not_ready": "packets that were not sent because no link was ready yet",
    "knet_tx_unreachable": "packets for a host that no link reaches",
    "knet_events_dropped": "changes of links of which the log has no line",
    "security_challenges_sent": "questions whether a sender lives",
    "security_challenges_answered": "answers to such questions",
    "security_answers_withheld": "such questions that were not answered, because there were too many",
    "security_stale_answers": "answers to no question that stands",
    "security_boots_accepted": "lives of other nodes that were confirmed",
}
_CPG = {
    "requests": "requests of clients",
    "refused": "requests that were refused",
    "refused_for_quota": "... of them: because of what all sessions of a user have",
    "events": "messages and memberships that were handed to clients",
    "messages_submitted": "messages of this node's clients that were handed to the ring",
    "sessions_cut": "clients that were cut off because they did not take their events",
    "sessions_cut_for_quota": "... of them: because of what waits for all sessions of a user",
    "sessions_detached": "clients that were away for too long",
    "bus_errors": "malformed envelopes",
    "malformed_messages": "messages of other nodes that were refused",
    "long_messages_dropped": "long messages of which a part was missing",
    "out_of_step": "messages that came out of step with the ring's sync",
}
_CONTROL = {"requests": "requests of clients", "bus_errors": "malformed envelopes"}
_GATEWAY = {
    "sessions": "sessions that clients have opened",
    "resumed": "sessions that went on after a broken connection",
    "refused": "sessions that were refused",
    "denied": "clients that may not connect",
    "died": "sessions that ended with their client",
    "closed": "sessions that are over, for whatever reason",
    "cut": "clients that were cut off",
    "slow": "warnings of clients that take their events too slowly",
    "malformed": "malformed frames of clients",
    "without_session": "frames of clients that have no session",
    "requests": "requests to groups",
    "sam_requests": "requests to SAM",
    "control_requests": "requests about quorum, keys and nodes",
    "sam_replies_dropped": "answers of SAM for which a client had no room",
    "control_replies_dropped": "answers of control for which a client had no room",
    "event_blobs": "packets of events that were sent to clients",
    "bus_errors": "malformed envelopes",
    "connections_refused": "connections that were not taken, because a user, or all, have too many",
    "silent_refused": "connections that were not taken, because too many say nothing",
    "silent_ended": "connections that said nothing for too long",
    "half_frames_held": "connections that were not read on for a while, because too much is half sent",
    "half_frames_ended": "connections that stood still with half an envelope while others waited",
    "unread_ended": "connections that were ended because their client does not read",
    "remote_displaced": "connections over TCP that had to make room before they had shown a key",
    "remote_handshake_ended": "connections over TCP that showed no key in time",
    "remote_refused": "connections over TCP beyond the bound of clients",
    "remote_not_handed_on": "connections over TCP that could not be handed on",
    "laps": "messages of the gateway's own that keep the way warm (low_latency)",
}
_QB = {
    "requests": "requests of C programs",
    "events": "events that were written for C programs",
    "cut": "C programs that were hung up",
    "ended": "connections that have ended",
    "accepted": "connections that were accepted",
    "denied": "C programs that may not connect",
    "not_ready": "connections refused because the node is not ready",
    "refused": "connections refused because there are too many",
    "handshakes_failed": "connections that were never made",
    "cpg_requests": "requests to groups",
    "cpg_multicasts": "messages to groups",
    "cpg_refused": "requests to groups that were refused",
    "cpg_multicasts_ignored": "messages of programs that were told to wait and did not",
    "bus_errors": "malformed envelopes",
    "messages_lost": "messages that were on their way when the ring process died",
    "messages_refused": "messages that were refused after the program had been told that they were taken",
    "logs_lost": "ring process deaths that C programs were told of",
    "upstream_errors": "failed exchanges with cpg or control",
}
_SAM = {
    "applications": "applications that were taken on",
    "starts": "processes of applications that were started",
    "ends": "processes of applications that have ended",
    "hung": "applications whose health was overdue",
    "starts_postponed": "starts that had to wait, because a user had too many at once",
    "waits_given_up": "clients that waited for a start or an end and were told to ask again",
    "starts_held_back": "starts that had to wait for quorum",
    "ended_without_quorum": "processes that were ended because quorum was lost",
    "keys_refused": "keys about processes that control did not take",
    "requests_failed": "requests that failed by a fault of SAM's",
    "refused_for_confinement": "requests from inside of a container or another root",
    "refused_for_quota": "requests beyond a user's share",
    "output_bytes_dropped": "output of applications beyond a user's share",
    "words_not_understood": "words of applications about their health that are none",
    "keeper_starts": "processes that became the parent of applications",
    "keepers_lost": "such parents that were killed",
    "pauses": "times that SAM itself stood still",
    "paused_ms": "milliseconds that SAM stood still",
    "health_floods": "applications that wrote more about their health than can be read",
    "table_errors": "failed writes of SAM's table",
    "bus_errors": "malformed envelopes",
    "replies_dropped": "answers for which the gateway had no room",
    "last_words_sent": "goodbyes sent for a ring process that was killed",
    "last_words_refused": "goodbyes that could not be sent",
}

_WEB = {
    "refused_header": "requests with a header given twice",
    "refused_body": "requests with a body",
    "refused_host": "requests for another host",
    "refused_site": "requests of another site",
    "refused_method": "requests that would change something",
    "refused_path": "requests for paths that are none",
    "refused_token": "requests without the token",
    "messages_refused": "what the pages of other nodes said and is not what they say",
}
_NOTIFY = {
    "told": "events that a command or webhook was told of",
    "attempts_failed": "runs of it that failed or took too long",
    "given_up": "events that nobody could be told of",
    "dropped": "events for which there was no room",
}

MEANINGS = {
    "totem": _TOTEM, "cpg": _CPG, "control": _CONTROL, "ipc_gateway": _GATEWAY, "qb_gateway": _QB,
    "web": _WEB, "notify": _NOTIFY, "sam": _SAM,
}  # fmt: skip
"""What each counter means, by process."""

EVENTS = Metric(
    "rondo_events_total", Kind.COUNTER, "What a process counts besides, under the names of `rondo debug`",
    ("process", "event"), 384,
)  # fmt: skip
MESSAGES_REFUSED = Metric(
    "rondo_control_messages_refused_total", Kind.COUNTER,
    "Messages of other nodes' control processes that were refused or ignored, by reason", ("reason",), 32,
)  # fmt: skip

METRICS = (EVENTS, MESSAGES_REFUSED)

OF_CONTROL = ("ignored: ", "refused: ")
"""How control's counters of refused messages begin."""


def collect(seen: Seen, values: Values) -> None:
    """Every counter that no other metric shows."""
    for process, answer in seen.answers.items():
        for name, count in answer["counters"].items():
            if (place := _place(process, name)) is not None:
                values.put(place[0], count, place[1])


@lru_cache(PLACES_KEPT_MAX)
def _place(process: str, name: str) -> tuple[Metric, Key] | None:
    """The series of a counter; None if another metric shows it."""
    if process == "totem" and (name in ring.COUNTED or name in ring.PARTS_OF_OTHERS or ring.is_refusal(name)):
        return None
    if process == "ipc_gateway" and name in groups.LEVELS:
        return None
    if process == "sam" and name == processes.RESTARTS_COUNTER:
        return None
    if process == "control" and name.startswith(OF_CONTROL):
        return MESSAGES_REFUSED, key_of((name,))
    return EVENTS, key_of((process, name))
