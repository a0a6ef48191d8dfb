"""Who steals keys later: the key file when all is over, or the memory of a node while it runs.

He has recorded what was on the network. With the key file alone he may open what is sealed with it: joins, commit
tokens, challenges. Nothing of a forward secret ring may open: neither with the keys that the file gives, nor with
anything that stands in what he can read with them. With a node's memory besides he may open what belongs to the ring
that the node is in, or is about to form, and nothing of rings that ended before.

He is generous with what counts as a key: whatever in a memory has 32 bytes, and whatever stands anywhere in a commit
token or a join. It is tried as the secret of a ring, as what goes round with a commit token, and as a private key.
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
"""How many packets of each epoch and sender he keeps."""
TOKENS_MAX = 400
"""How many other packets: joins, commit tokens, challenges."""
OF_A_RING_MAX = 200
"""So many of all that he has are tried as what went round with the commit token of each ring."""
SEARCHED_MAX = 16
"""In how many of them he takes whatever stands anywhere for a key. It takes time; commit tokens come first."""
_OBJECTS_MAX = 200_000
_RING_KINDS = (Kind.TOKEN, Kind.MCAST)
_KEY_NUMBER_SIZE = 2


_Try = Callable[["Record"], bool]
"""A way to open a packet; whether it does."""


class Record(NamedTuple):
    """A packet of a forward secret ring."""

    datagram: bytes
    target: int
    ring: tuple[int, int]


class Thief:
    """What he has recorded, and what he finds with what he steals. `keys`: all that ever were in a key file."""

    def __init__(self, suite: Suite, keys: Iterable[bytes], cluster_name: str, seed: int | str) -> None:
        keys = list(keys)
        self._keyring = Keyring(suite, cluster_name, keys[0])
        for key in keys[1:]:
            self._keyring.install(key)
        self._draw = Random(f"thief {seed}")
        self._of_rings: dict[tuple[int, int], list[Record]] = defaultdict(list)
        """By ring tag and sender."""
        self._under_key: list[tuple[bytes, int]] = []
        self.opened: set[str] = set()
        """What he could open: so that a run shows that he tries in earnest."""

    def record(self, datagram: bytes, target: int, frame: bytes | None) -> None:
        """A datagram leaves; `frame` is what is in it, which serves only to know which ring it is of."""
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
        """Everything is over. Raises SimulationError if a packet of a forward secret ring opens."""
        self._seek(self._windows(self._frames()), [self._open_static], allowed=frozenset(), whose="the key file alone")

    def _frames(self) -> Iterator[bytes]:
        """What opens with the keys of the file."""
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
        """What in these frames may be a key, and keys that need no secret."""
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
        """This moment's memory of a node, the key file with it. Raises SimulationError if a packet of another ring
        opens than the one that is installed there, or being formed."""
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
        """What comes of the recorded commit tokens, if one of these is a private key or goes round with a token."""
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
    """Whatever in a frame may be a key."""
    return (frame[at : at + SECRET_SIZE] for at in range(len(frame) - SECRET_SIZE + 1))


def _last_of_each_ring(commits: Iterable[Commit]) -> list[Commit]:
    """The commit tokens of the second round, as far as he has them."""
    last: dict[tuple[int, int], Commit] = {}
    for commit in commits:
        if commit.ring not in last or last[commit.ring].token_seq < commit.token_seq:
            last[commit.ring] = commit
    return list(last.values())


def ring_frame_under_key(datagram: bytes, frame: bytes) -> bool:
    """Whether data or a token is sealed with the key of the cluster alone."""
    return datagram[1] != RING_VERSION and frame[3] in _RING_KINDS


def _opens(codec: Codec, record: Record) -> bool:
    prefix = prefix_of(record.datagram)
    try:
        codec.open(record.datagram, bound_to(prefix.content, record.target))
    except (Forged, ValueError):
        return False
    return len(record.datagram) > HEADER_SIZE >= PREFIX_SIZE


def _reachable(roots: list[object]) -> Iterator[object]:
    """What a memory holds that these lead to: not the code, nor what belongs to the simulator."""
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
