"""A thief who steals keys later: the key file when the run is over, or the memory of a node while it runs.

He has recorded what was on the network. The key file alone may open what is sealed with its keys: joins, commit tokens
and challenges. It must open nothing of a forward secret ring, neither with the keys of the file nor with anything that
these keys make readable. The memory of a node, with the key file, may also open packets of the ring that the node is in
or is about to form. It must open nothing of rings that ended before.

The thief tries more than he knows to be a key: everything in a memory that has 32 bytes, and every 32 bytes of a commit
token or a join, at any offset. He tries each as the secret of a ring, as the secret that goes round with a commit
token, and as a private key.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from random import Random
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from services.totem.security.envelope import HEADER_SIZE, PREFIX_SIZE, RING_VERSION, bound_to, prefix_of
from services.totem.security.forward import (
    SECRET_SIZE,
    BadBox,
    hop_of,
    next_epoch,
    open_box,
    pair_of,
    ring_secret,
    ring_tag,
    shared_of,
)
from services.totem.security.keys import Keyring
from services.totem.security.suites import Codec, Forged
from services.totem.wire.base import Malformed
from services.totem.wire.frames import Commit, Kind, decode, decode_commit, encode_commit
from tests.simulation.trace import SimulationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.totem.security.suites import Suite
    from tests.simulation.host import Host

PACKETS_OF_A_TAG = 12
"""How many packets of each epoch and sender he keeps. A ring tag stands for an epoch."""
TOKENS_MAX = 400
"""How many other packets he keeps: joins, commit tokens, challenges."""
OF_A_RING_MAX = 200
"""About how many of his candidates he tries as the secret that went round with a commit token, for each ring."""
SEARCHED_MAX = 16
"""In how many frames he tries every 32 bytes as a key. There are few because it takes time. Commit tokens come
first."""
_OBJECTS_MAX = 200_000
_RING_KINDS = (Kind.TOKEN, Kind.MCAST)
_KEY_NUMBER_SIZE = 2


_Try = Callable[["Record"], bool]
"""Tries to open a packet in one way, and tells whether it opened."""


class Record(NamedTuple):
    """A packet of a forward secret ring."""

    datagram: bytes
    target: int
    ring: tuple[int, int]


class Thief:
    """What the thief has recorded, and what he can open with what he steals. `keys` are all that ever were in a key
    file."""

    def __init__(self, suite: Suite, keys: Iterable[bytes], cluster_name: str, seed: int | str) -> None:
        keys = list(keys)
        self._keyring = Keyring(suite, cluster_name, keys[0])
        for key in keys[1:]:
            self._keyring.install(key)
        self._draw = Random(f"thief {seed}")
        self._of_rings: dict[tuple[int, int], list[Record]] = defaultdict(list)
        """Packets of forward secret rings, by ring tag and sender."""
        self._under_key: list[tuple[bytes, int]] = []
        self.opened: set[str] = set()
        """What kinds of packets he could open. They become marks, which show that his attempts can succeed."""

    def record(self, datagram: bytes, target: int, frame: bytes | None) -> None:
        """A datagram leaves: record it. `frame` is its content, which only tells the ring that it belongs to."""
        prefix = prefix_of(datagram)
        if prefix.version == RING_VERSION:
            assert frame is not None
            kept = self._of_rings[prefix.ring_tag, prefix.sender]
            if len(kept) < PACKETS_OF_A_TAG:
                found = decode(frame)
                kept.append(Record(bytes(datagram), target, found.ring))  # type: ignore[union-attr]
        elif len(self._under_key) < TOKENS_MAX:
            self._under_key.append((bytes(datagram), target))
        else:
            self._under_key[self._draw.randrange(TOKENS_MAX)] = (bytes(datagram), target)

    # -- with the key file

    def steal_key_file(self) -> None:
        """The thief gets the key file when the run is over. Raises SimulationError if a packet of a forward secret ring
        opens."""
        self._seek(self._windows(self._frames()), [self._open_static], allowed=frozenset(), whose="the key file alone")

    def _frames(self) -> Iterator[bytes]:
        """The frames that open with the keys of the file."""
        for datagram, target in self._under_key:
            prefix = prefix_of(datagram)
            codec = self._keyring.codec(prefix.key_number, prefix.sender, prefix.boot)
            try:
                frame = codec.open(datagram, bound_to(prefix.content, target))
            except Forged:
                continue
            self.opened.add("under_key")
            yield frame

    def _windows(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        """What he tries as a key: parts of these frames, and keys that everybody has who has the key file."""
        yield bytes(SECRET_SIZE)
        for number in self._keyring.numbers:
            yield self._keyring.cluster_key(number)
        searched = {frame for frame in frames if len(frame) > 3 and frame[3] in (Kind.JOIN, Kind.COMMIT)}
        for frame in sorted(searched, reverse=True)[:SEARCHED_MAX]:
            yield from _windows_of(frame)

    def _open_static(self, record: Record) -> bool:
        prefix = prefix_of(record.datagram)
        codec = self._keyring.codec(prefix.key_number, prefix.sender, prefix.boot)
        return _opens(codec, record)

    # -- with a memory

    def steal_memory(self, host: Host) -> None:
        """The thief gets the present memory of a node, and with it the key file. Packets may open if they belong to the
        ring that is installed there, or to the one that is being formed. Raises SimulationError if another packet
        opens."""
        assert host.ring is not None
        assert host.life is not None
        found = list(_reachable([host.ring, host.life.security]))
        codecs = [each for each in found if isinstance(each, Codec)]
        secrets = {bytes(each) for each in found if isinstance(each, bytes | bytearray) and len(each) == SECRET_SIZE}
        secrets |= {each.private_bytes_raw() for each in found if isinstance(each, X25519PrivateKey)}
        membership = host.ring.parts.membership
        allowed: frozenset[tuple[int, int]] = frozenset({membership.ring_id, membership.old_ring_id})
        tries: list[_Try] = [partial(_opens, codec) for codec in codecs]
        self._seek(secrets, tries, allowed, f"the memory of node {host.node}")

    # -- what he tries

    def _seek(
        self, secrets: Iterable[bytes], tries: list[_Try], allowed: frozenset[tuple[int, int]], whose: str
    ) -> None:
        candidates = set(secrets)
        candidates |= set(self._with_commit_tokens(candidates))
        by_tag: dict[int, list[bytes]] = defaultdict(list)
        for secret in candidates:
            following = next_epoch(secret)
            by_tag[ring_tag(secret)].append(secret)
            by_tag[ring_tag(following)].append(following)
        for (tag, sender), records in self._of_rings.items():
            for record in records[:: max(1, len(records) // 3)]:
                prefix = prefix_of(record.datagram)
                if any(attempt(record) for attempt in tries) or any(
                    _opens(self._keyring.ring_codec(prefix.key_number, secret, sender, prefix.boot), record)
                    for secret in by_tag.get(tag, ())
                ):
                    if tuple(record.ring) not in allowed:
                        raise SimulationError(f"{whose} opens a packet of node {sender} in ring {record.ring}")
                    self.opened.add("present_ring")

    def _with_commit_tokens(self, candidates: set[bytes]) -> Iterator[bytes]:
        """Ring secrets that follow from the recorded commit tokens, if a candidate is a private key or is the secret
        that went round with a token."""
        commits = [(commit, target) for commit, target in self._commits() if commit.publics]
        publics = {public for commit, _ in commits for public in commit.publics}
        pairs = [pair_of(each) for each in candidates]
        privates = {public: private for private, public in pairs if public in publics}
        of_the_file = [self._keyring.cluster_key(number) for number in self._keyring.numbers]
        for commit, target in commits:
            for secret in (bytes(SECRET_SIZE), *of_the_file, *self._boxed(commit, target, privates)):
                yield ring_secret(secret, commit.ring, commit.addrs, commit.publics)
        for commit in _last_of_each_ring(commit for commit, _ in commits):
            at_hand = sorted(candidates)[:: max(1, len(candidates) // OF_A_RING_MAX)]
            for each in (*at_hand, *_windows_of(encode_commit(commit))):
                yield ring_secret(each, commit.ring, commit.addrs, commit.publics)

    def _boxed(self, commit: Commit, target: int, privates: dict[bytes, X25519PrivateKey]) -> Iterator[bytes]:
        sender = commit.sender
        theirs, ours = (commit.publics[commit.addrs.index(node)] for node in (sender, target))
        hop = hop_of(commit.ring, commit.token_seq, sender, target, (theirs, ours))
        number = int.from_bytes(commit.box[:_KEY_NUMBER_SIZE], "big")
        for mine, other in ((theirs, ours), (ours, theirs)):
            if mine in privates and number in self._keyring:
                try:
                    box = commit.box[_KEY_NUMBER_SIZE:]
                    yield open_box(self._keyring.cluster_key(number), shared_of(privates[mine], other), hop, box)
                except BadBox:
                    continue

    def _commits(self) -> Iterator[tuple[Commit, int]]:
        for datagram, target in self._under_key:
            prefix = prefix_of(datagram)
            codec = self._keyring.codec(prefix.key_number, prefix.sender, prefix.boot)
            try:
                frame = codec.open(datagram, bound_to(prefix.content, target))
                if len(frame) > 3 and frame[3] == Kind.COMMIT:
                    yield decode_commit(frame), target
            except (Forged, Malformed):
                continue


def _windows_of(frame: bytes) -> Iterator[bytes]:
    """Every 32 bytes of a frame, at any offset: each may be a key."""
    return (frame[at : at + SECRET_SIZE] for at in range(len(frame) - SECRET_SIZE + 1))


def _last_of_each_ring(commits: Iterable[Commit]) -> list[Commit]:
    """The last commit token of each ring that he has. It is of the second round, if he has one of that."""
    last: dict[tuple[int, int], Commit] = {}
    for commit in commits:
        if commit.ring not in last or last[commit.ring].token_seq < commit.token_seq:
            last[commit.ring] = commit
    return list(last.values())


def ring_frame_under_key(datagram: bytes, frame: bytes) -> bool:
    """Whether this is data or a token, sealed with the cluster's key instead of the ring's."""
    return datagram[1] != RING_VERSION and frame[3] in _RING_KINDS


def _opens(codec: Codec, record: Record) -> bool:
    prefix = prefix_of(record.datagram)
    try:
        codec.open(record.datagram, bound_to(prefix.content, record.target))
    except (Forged, ValueError):
        return False
    return len(record.datagram) > HEADER_SIZE >= PREFIX_SIZE


def _reachable(roots: list[object]) -> Iterator[object]:
    """The objects in memory to which these refer, without code and without what belongs to the simulator."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, ModuleType | type | Random):
            continue
        seen.add(id(each))
        if len(seen) > _OBJECTS_MAX:
            raise SimulationError("the thief loses himself in a memory")
        if type(each).__module__.startswith("tests."):
            continue
        yield each
        if isinstance(each, MethodType | BuiltinMethodType):
            waiting.append(each.__self__)
        elif isinstance(each, FunctionType):
            waiting.extend(cell.cell_contents for cell in each.__closure__ or ())
        else:
            waiting.extend(gc.get_referents(each))
