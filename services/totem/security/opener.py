"""Opens or refuses the datagrams that come to this node. None counts before it is authentic.

The checks, in order: does it look like an envelope of this cluster under a known key (cheap, proves nothing); was it
made with the key and not altered; is its boot the sender's present one; is it no replay.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from services.totem.security.allowance import Allowance
from services.totem.security.challenge import ASK_INTERVAL_NS, HELD_BYTES_MAX, QUIET_NS, Held, Question
from services.totem.security.complaints import Complaints
from services.totem.security.envelope import (
    ENQUIRY,
    MAGIC,
    PLAIN_MAGIC,
    PREFIX_SIZE,
    RING_VERSION,
    TAG_MASK,
    TAIL,
    VERSION,
    Content,
    Prefix,
    bound_to,
    cluster_number,
    prefix_of,
)
from services.totem.security.guard import GuardedCodec, Unprotected
from services.totem.security.keys import Keyring
from services.totem.security.marks import SegmentKeys
from services.totem.security.peers import Boot, Peer, Peers, codec_key
from services.totem.security.replay import KEPT_COUNTERS, MASK, ReplayWindow
from services.totem.security.ring_keys import RingKeys
from services.totem.security.sealer import Sealer
from services.totem.security.suites import Codec, Forged


class Reason(StrEnum):
    """Why a packet was refused. The values are names of counters."""

    NO_CRYPTO = "no_crypto"
    """A plain totem packet: its sender has security switched off."""
    NO_ENVELOPE = "no_envelope"
    """Neither an envelope nor a plain packet."""
    TRUNCATED = "truncated"
    OTHER_VERSION = "other_version"
    OTHER_CLUSTER = "other_cluster"
    OTHER_RING = "other_ring"
    """Sealed with the key of a ring that this node is not in, or not any more."""
    NOT_RING_KEY = "not_ring_key"
    """It claims to belong to a forward secret ring, but is sealed with the cluster key alone."""
    OTHER_SUITE = "other_suite"
    """Its sender has another crypto_cipher or crypto_hash."""
    WRONG_KEY = "wrong_key"
    """Sealed with another key, or altered, or for another node."""
    UNLISTED_SENDER = "unlisted_sender"
    """Not in the nodelist."""
    OWN_NODE_ID = "own_node_id"
    """From this node itself over the network, or from another node with the same id."""
    REPLAYED = "replayed"
    """The same packet came before."""
    UNKNOWN_BOOT = "unknown_boot"
    """The sender has not confirmed this boot (yet): an earlier run of it, or too early."""
    NOT_TRIED = "not_tried"
    """Under an unknown boot, while more such packets come than there is time for."""
    MALFORMED = "malformed"
    """Authentic, but it breaks the rules."""


TEXTS: Final = {
    Reason.NO_CRYPTO: "it is not encrypted; security is switched off there",
    Reason.NO_ENVELOPE: "it is no packet of a cluster",
    Reason.TRUNCATED: "it is truncated",
    Reason.OTHER_VERSION: "its envelope is of another version",
    Reason.OTHER_CLUSTER: "it belongs to another cluster_name",
    Reason.OTHER_RING: "it belongs to a ring that this node is not in",
    Reason.NOT_RING_KEY: "it is not sealed with the key of its ring, which is forward secret",
    Reason.OTHER_SUITE: "another crypto_cipher or crypto_hash is configured there",
    Reason.WRONG_KEY: "it was made with another key, or altered; compare the fingerprints of the keys",
    Reason.UNLISTED_SENDER: "its node id is not in the nodelist",
    Reason.OWN_NODE_ID: "it has this node's own id",
    Reason.REPLAYED: "it came before",
    Reason.UNKNOWN_BOOT: "its sender does not confirm it at its configured address",
    Reason.NOT_TRIED: "too many packets of unknown senders come",
    Reason.MALFORMED: "it breaks the rules of the protocol",
}
"""Texts for the log."""


Sourced = tuple[bytes, Any]
"""A datagram or a frame, and its sender's address, whose first element is the IP address."""

EVENTS: Final = ("challenges_sent", "challenges_answered", "answers_withheld", "boots_accepted", "stale_answers")
"""Other counters. A stale answer came too late or was not asked for. An answer is withheld from a challenge that is
repeated under an unconfirmed boot."""

TRIES_PER_SECOND: Final = 2000
TRIES_BURST: Final = 800
"""Bounds of packets under unknown boots. Their keys have to be derived first: some 15 µs each, ten times the cost of a
refusal. The burst is for a ring with the most members that starts all at once."""


class Reply(NamedTuple):
    """A datagram to send: to the configured address of `node`, or to `source` if none is configured."""

    node: int
    source: str
    datagram: bytes


class Opener:
    """Opens datagrams. `replies` holds datagrams to send, `released` frames that were kept and are handed in now.

    `members`: node ids of the nodelist; None: every node that has the key. `draw_nonce` returns 16 random bytes.
    """

    def __init__(
        self, keyring: Keyring, sealer: Sealer, cluster_name: str, node_id: int, members: frozenset[int] | None,
        draw_nonce: Callable[[], bytes], rings: RingKeys | None = None,
    ) -> None:  # fmt: skip
        self.counters: Counter[str] = Counter(dict.fromkeys((*Reason, *EVENTS), 0))
        """Refused packets by reason, and `EVENTS`. Each exists from the start, so that it can be monitored."""
        self.replies: list[Reply] = []
        self.released: list[tuple[bytes, str]] = []
        """Frames that waited for an answer, in the order in which they came, with their sources (IP addresses)."""
        self.complaints = Complaints()
        self._keyring = keyring
        self._rings = rings
        self._sealer = sealer
        self._cluster = cluster_number(cluster_name)
        self._node_id = node_id
        self._members = members
        self._draw_nonce = draw_nonce
        self._size_min = keyring.suite.datagram_size_min
        self._tries = Allowance(TRIES_PER_SECOND, TRIES_BURST)
        self.peers = Peers()
        """The state of each sender. Other modules only read it."""
        self.sessions: dict[bytes, tuple[Codec, ReplayWindow, bytes]] = {}
        """What opens the frames of known senders, by the frames' prefix. Other modules only read it."""

    def set_members(self, members: frozenset[int] | None) -> None:
        """Change the nodelist. Senders that are not in it any more are refused."""
        self._members = members
        if members is not None:
            self.sessions = {key: each for key, each in self.sessions.items() if prefix_of(key).sender in members}

    def open(self, datagram: bytes, source: str, now_ns: int) -> bytes | None:
        """The frame in a datagram from the IP address `source`; None: refused, kept, or not a frame."""
        session = self.sessions.get(datagram[:PREFIX_SIZE])
        size = len(datagram)
        if session is None or size < self._size_min:
            return self._open_other(datagram, source, now_ns)
        length, counter = TAIL.unpack_from(datagram, PREFIX_SIZE)
        if size & 0xFFFF < length:
            self._refuse(Reason.TRUNCATED, source, now_ns)
            return None
        try:
            frame = session[0].open(datagram, session[2])
        except Forged as fault:
            self._refuse(_reason(fault), source, now_ns)
            return None
        if not session[1].take(counter):
            self._refuse_old(session[1], counter, source, now_ns)
            return None
        return frame

    def open_known(self, datagrams: Sequence[Sourced], opened: list[Sourced], start: int) -> int:
        """Open datagrams from index `start` on, in order, as long as they are frames of known senders.

        The frames are appended to `opened`. Returns the index of the first other datagram, which is for `open`; or the
        number of datagrams. This runs for every packet, so it saves calls.
        """
        sessions, unpack, size_min = self.sessions, TAIL.unpack_from, self._size_min
        for index in range(start, len(datagrams)):
            datagram, source = datagrams[index]
            session = sessions.get(datagram[:PREFIX_SIZE])
            size = len(datagram)
            if session is None or size < size_min:
                return index
            codec, window, bound = session
            length, counter = unpack(datagram, PREFIX_SIZE)
            if size & 0xFFFF < length or not window.highest < counter < KEPT_COUNTERS:
                return index
            try:
                frame = codec.open(datagram, bound)
            except Forged:
                return index
            window.highest = window.slots[counter & MASK] = counter
            opened.append((frame, source))
        return len(datagrams)

    def segment_keys(self, sender: int) -> SegmentKeys | None:
        """The keys that mark a sender's segments under its confirmed boot; None if it has none."""
        peer = self.peers.get(sender)
        boot = peer.known if peer is not None else None
        if boot is None:
            return None
        if boot.segment_keys is None:
            keys = [self._keyring.segment_key(number, sender, boot.boot) for number in self._keyring.numbers]
            boot.segment_keys = SegmentKeys(boot.boot, tuple(keys))
        return boot.segment_keys

    def forget_all(self) -> None:
        """Forget all senders. Each has to confirm its boot again, and earlier packets do not count."""
        self.peers = Peers()
        self.sessions = {}
        self.released.clear()

    def key_added(self) -> None:
        """A key was installed in the keyring."""
        for peer in self.peers.all():
            peer.keys_changed()

    def rings_ended(self) -> None:
        """Rings, or epochs of them, are over: drop what was derived from their secrets."""
        assert self._rings is not None
        knows = self._rings.knows
        self.sessions = {
            key: each for key, each in self.sessions.items() if (tag := prefix_of(key).ring_tag) == 0 or knows(tag)
        }
        for peer in self.peers.all():
            peer.keep_rings(knows)

    def forget_key(self, number: int) -> None:
        """The key was removed from the keyring."""
        self.sessions = {key: each for key, each in self.sessions.items() if prefix_of(key).key_number != number}
        for peer in self.peers.all():
            peer.forget_key(number)

    # -- packets that are not frames of a known sender

    def _open_other(self, datagram: bytes, source: str, now_ns: int) -> bytes | None:
        misfit = self._misfit(datagram)
        if misfit is Reason.OTHER_RING or misfit is Reason.UNKNOWN_BOOT:
            self.counters[misfit] += 1  # the packet may be perfectly right
            return None
        if misfit is not None:
            self._refuse(misfit, source, now_ns)
            return None
        prefix = prefix_of(datagram)
        peer = self.peers.get(prefix.sender)
        boot = peer.boot(prefix.boot) if peer is not None else None
        key = codec_key(prefix.key_number, prefix.ring_tag)
        codec = boot.codecs.get(key) if boot is not None else None
        if codec is None and boot is not None and boot.window is not None and prefix.ring_tag:
            # From a member with a confirmed boot, in a known ring. That is derived once, whoever sends it.
            codec = boot.codecs[key] = self._codec(prefix)
        if codec is None:
            if not self._tries.take(now_ns):
                self._refuse(Reason.NOT_TRIED, source, now_ns)
                return None
            codec = self._codec(prefix)
        try:
            inside = codec.open(datagram, bound_to(prefix.content, self._node_id))
        except Forged as fault:
            self._refuse(_reason(fault), source, now_ns)
            return None
        if self._rings is not None and prefix.ring_tag:
            self._rings.heard(prefix.ring_tag)
        peer = self.peers.get_or_add(prefix.sender)
        boot = peer.remember(prefix.boot, key, codec)
        counter = TAIL.unpack_from(datagram, PREFIX_SIZE)[1]
        if prefix.content in _FRAMES:
            return self._frame(peer, boot, prefix, counter, inside, source, now_ns)
        if len(inside) != ENQUIRY.size or prefix.content not in _ENQUIRIES:
            self._refuse(Reason.MALFORMED, source, now_ns)
            return None
        node, nonce = ENQUIRY.unpack(inside)
        if node != self._node_id:
            self._refuse(Reason.MALFORMED, source, now_ns)
            return None
        if prefix.content == Content.CHALLENGE:
            self._challenged(peer, boot, prefix.sender, counter, nonce, source, now_ns)
        else:
            self._answered(peer, boot, prefix.sender, counter, nonce, source, now_ns)
        return None

    def _codec(self, prefix: Prefix) -> Codec:
        """The codec for packets with this prefix. The prefix has been checked."""
        if self._rings is None:
            return self._keyring.codec(prefix.key_number, prefix.sender, prefix.boot)
        if prefix.ring_tag:
            codec = self._rings.codec(prefix.key_number, prefix.ring_tag, prefix.sender, prefix.boot)
            assert codec is not None, "its tag fits"
            return codec
        return GuardedCodec(self._keyring.codec(prefix.key_number, prefix.sender, prefix.boot), self._rings)

    def _misfit(self, datagram: bytes) -> Reason | None:
        """Why a datagram is refused by its envelope alone; None if it is not."""
        if datagram[:2] in PLAIN_MAGIC:
            return Reason.NO_CRYPTO
        if datagram[:1] != _MAGIC:
            return Reason.NO_ENVELOPE
        if len(datagram) < PREFIX_SIZE + TAIL.size:
            return Reason.TRUNCATED
        prefix, length = prefix_of(datagram), TAIL.unpack_from(datagram, PREFIX_SIZE)[0]
        if prefix.version != VERSION and (prefix.version != RING_VERSION or self._rings is None):
            return Reason.OTHER_VERSION
        if prefix.cluster != self._cluster and (
            prefix.version == VERSION or prefix.cluster | TAG_MASK != self._cluster | TAG_MASK
        ):
            return Reason.OTHER_CLUSTER
        if prefix.suite != self._keyring.suite.number:
            return Reason.OTHER_SUITE
        if len(datagram) < self._size_min or len(datagram) & 0xFFFF < length:
            return Reason.TRUNCATED
        if prefix.key_number not in self._keyring:
            return Reason.WRONG_KEY
        if prefix.sender == self._node_id:
            return Reason.OWN_NODE_ID
        if self._members is not None and prefix.sender not in self._members:
            return Reason.UNLISTED_SENDER
        if prefix.version == RING_VERSION and (
            self._rings is None or prefix.content not in _OF_RINGS or not self._rings.knows(prefix.ring_tag)
        ):
            peer = self.peers.get(prefix.sender)
            is_known = peer is not None and peer.known is not None and peer.known.boot == prefix.boot
            return Reason.OTHER_RING if is_known else Reason.UNKNOWN_BOOT
        return None

    def _frame(
        self, peer: Peer, boot: Boot, prefix: Prefix, counter: int, frame: bytes, source: str, now_ns: int
    ) -> bytes | None:
        """An authentic frame of an unconfirmed boot, or the first frame of a confirmed boot under a key."""
        if boot.window is not None:
            if not boot.window.take(counter):
                self._refuse_old(boot.window, counter, source, now_ns)
                return None
            bound = bound_to(prefix.content, self._node_id)
            codec = boot.codecs[codec_key(prefix.key_number, prefix.ring_tag)]
            self.sessions[prefix.pack()] = (codec, boot.window, bound)
            return frame
        question = self._ask(peer, prefix.sender, source, now_ns)
        if peer.known is not None and question.hold(
            Held(boot.boot, counter, frame, source), HELD_BYTES_MAX - self.peers.held_bytes()
        ):
            return None
        if now_ns - question.since_ns >= QUIET_NS:
            self._refuse(Reason.UNKNOWN_BOOT, source, now_ns)
            return None
        self.counters[Reason.UNKNOWN_BOOT] += 1
        return None

    # -- challenge and answer

    def _ask(self, peer: Peer, node: int, source: str, now_ns: int) -> Question:
        """Make sure that a challenge to the sender is open, and repeat it from time to time."""
        question = peer.question
        if question is None or question.expired(now_ns):
            for held in question.held if question is not None else ():
                self._refuse(Reason.UNKNOWN_BOOT, held.source, now_ns)
            question = peer.question = Question(self._draw_nonce(), now_ns)
        if now_ns - peer.asked_ns >= ASK_INTERVAL_NS:
            peer.asked_ns = now_ns
            self.counters["challenges_sent"] += 1
            datagram = self._sealer.seal_enquiry(Content.CHALLENGE, node, question.nonce)
            self.replies.append(Reply(node, source, datagram))
        return question

    def _challenged(
        self, peer: Peer, boot: Boot, node: int, counter: int, nonce: bytes, source: str, now_ns: int
    ) -> None:
        """A challenge has come. The answer is as long as the challenge, so it amplifies nothing."""
        if boot.window is None:
            self._ask(peer, node, source, now_ns)
            if not peer.answers.may(nonce, now_ns):
                self.counters["answers_withheld"] += 1
                return
        elif not boot.window.take(counter):
            self._refuse_old(boot.window, counter, source, now_ns)
            return
        self.counters["challenges_answered"] += 1
        self.replies.append(Reply(node, source, self._sealer.seal_enquiry(Content.ANSWER, node, nonce)))

    def _answered(
        self, peer: Peer, boot: Boot, node: int, counter: int, nonce: bytes, source: str, now_ns: int
    ) -> None:
        """An answer has come: the sender names its present boot."""
        question = peer.question
        if question is None or question.expired(now_ns) or not hmac.compare_digest(question.nonce, nonce):
            self.counters["stale_answers"] += 1
            return
        peer.question = None
        if boot.window is None:
            first_contact = peer.known is None
            boot.window = ReplayWindow(counter if first_contact else 0, now_ns)
            peer.known, peer.other = boot, None
            self.sessions = {key: each for key, each in self.sessions.items() if prefix_of(key).sender != node}
            self.counters["boots_accepted"] += 1
        boot.window.take(counter)
        for held in question.held:
            if held.boot != boot.boot:
                self._refuse(Reason.UNKNOWN_BOOT, held.source, now_ns)
            elif boot.window.take(held.counter):
                self.released.append((held.frame, held.source))
            else:
                self._refuse(Reason.REPLAYED, held.source, now_ns)

    def _refuse_old(self, window: ReplayWindow, counter: int, source: str, now_ns: int) -> None:
        """The window refused the packet. Packets that were in flight when the first answer came are not logged."""
        if counter > window.floor:
            self._refuse(Reason.REPLAYED, source, now_ns)
        else:
            self.counters[Reason.UNKNOWN_BOOT] += 1
            if now_ns - window.since_ns >= QUIET_NS:
                self.complaints.add(Reason.UNKNOWN_BOOT, source, now_ns)

    def _refuse(self, reason: Reason, source: str, now_ns: int) -> None:
        self.counters[reason] += 1
        self.complaints.add(reason, source, now_ns)


def _reason(fault: Forged) -> Reason:
    return Reason.NOT_RING_KEY if isinstance(fault, Unprotected) else Reason.WRONG_KEY


_MAGIC: Final = bytes([MAGIC])
_FRAMES: Final = frozenset((Content.TOKEN, Content.FRAME, Content.DIRECT))
_OF_RINGS: Final = frozenset((Content.TOKEN, Content.FRAME))
_ENQUIRIES: Final = frozenset((Content.CHALLENGE, Content.ANSWER))
