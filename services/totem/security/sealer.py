"""Seals the packets that leave this node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.totem.security.envelope import (
    BOOT_SIZE,
    ENQUIRY,
    MAGIC,
    RING_VERSION,
    TAG_MASK,
    TAIL,
    VERSION,
    Content,
    Prefix,
    bound_to,
    cluster_number,
)
from services.totem.security.keys import Keyring
from services.totem.security.replay import KEPT_COUNTERS
from services.totem.security.ring_keys import Epoch, RingKeys

_KIND_AT: Final = 3
_AFTER_KIND: Final = 4
_TOKEN: Final = b"\0"
_DATA: Final = 1


class Sealer:
    """Seals with the key that the keyring has in use.

    `boot`: 16 random bytes that no other boot of this node has. If they repeated, nonces would repeat.
    """

    def __init__(
        self, keyring: Keyring, cluster_name: str, node_id: int, boot: bytes, rings: RingKeys | None = None
    ) -> None:
        if len(boot) != BOOT_SIZE:
            raise ValueError(f"a boot has {BOOT_SIZE} bytes, not {len(boot)}")
        self.node_id = node_id
        self.segment_key = b""
        """The key that marks the segments of this node's datagrams."""
        self.overhead_bytes = keyring.suite.overhead_bytes
        """Bytes that sealing adds to a frame, at most."""
        self._keyring = keyring
        self._cluster = cluster_number(cluster_name)
        self._boot = boot
        self._counter = 0
        self._kept_counter = KEPT_COUNTERS
        self._rings = rings
        self._epoch: Epoch | None = None
        """The epoch whose key seals data and tokens; None: the cluster key does."""
        self._padding_mask = keyring.suite.padding_mask
        self._take_keys()

    def begin_boot(self, boot: bytes) -> None:
        """Seal under another, new boot from now on. A copy of this process may go on with the counters of the present
        one."""
        if len(boot) != BOOT_SIZE:
            raise ValueError(f"a boot has {BOOT_SIZE} bytes, not {len(boot)}")
        self._boot = boot
        self._counter, self._kept_counter = 0, KEPT_COUNTERS
        self._take_keys()

    def seal(self, frame: bytes) -> bytes:
        """The datagram that carries this totem packet, for everybody who has the key."""
        if self._epoch is None or frame[_KIND_AT] != _DATA:
            return self.seal_as(Content.FRAME, frame, b"")
        if self._key_number != self._keyring.in_use:
            self._take_keys()
        self._counter = counter = self._counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        return self._data_codec.seal(self._data_prefix + TAIL.pack(length & 0xFFFF, counter), frame)

    def seal_for(self, node: int, frame: bytes) -> bytes:
        """The datagram that carries this totem packet, for one node alone."""
        if frame[_KIND_AT:_AFTER_KIND] != _TOKEN:
            return self.seal_as(Content.DIRECT, frame, bound_to(Content.DIRECT, node))
        if self._key_number != self._keyring.in_use:
            self._take_keys()
        self._counter = counter = self._counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        prefix = self._token_prefix + TAIL.pack(length & 0xFFFF, counter)
        return self._data_codec.seal(prefix, frame, bound_to(Content.TOKEN, node))

    def seal_to_keep(self, frame: bytes) -> bytes:
        """The datagram for a packet that is kept and sent later, or never. Only the newest one is of use."""
        if self._key_number != self._keyring.in_use:
            self._take_keys()
        self._kept_counter = counter = self._kept_counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        return self._codec.seal(self._prefixes[Content.FRAME] + TAIL.pack(length & 0xFFFF, counter), frame)

    def seal_all(self, frames: Sequence[bytes]) -> list[bytes]:
        """The datagrams that carry these totem packets for everybody, in order."""
        if self._key_number != self._keyring.in_use:
            self._take_keys()
        seal, pack_tail = self._data_codec.seal, TAIL.pack
        overhead, mask, counter = self.overhead_bytes, self._padding_mask, self._counter
        self._counter += len(frames)  # first of all: so no counter is used twice, whatever happens
        prefix, alike = self._data_prefix, self._epoch is None
        sealed = []
        for frame in frames:
            counter += 1
            size = len(frame)
            tail = pack_tail((size + overhead - (size & mask)) & 0xFFFF, counter)
            if alike or frame[_KIND_AT] == _DATA:
                sealed.append(seal(prefix + tail, frame))
            else:
                sealed.append(self._codec.seal(self._prefixes[Content.FRAME] + tail, frame))
        return sealed

    def seal_as(self, content: Content, frame: bytes, bound: bytes) -> bytes:
        """The datagram with any content, under the cluster key. `bound` is authenticated with it, but not part of it
        (`envelope.bound_to`)."""
        if self._key_number != self._keyring.in_use:
            self._take_keys()
        self._counter = counter = self._counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        return self._codec.seal(self._prefixes[content] + TAIL.pack(length & 0xFFFF, counter), frame, bound)

    def seal_enquiry(self, content: Content, node: int, nonce: bytes) -> bytes:
        """A challenge to `node`, or an answer to its challenge."""
        return self.seal_as(content, ENQUIRY.pack(node, nonce), b"")

    @property
    def boot(self) -> bytes:
        """The present boot."""
        return self._boot

    @property
    def sealed(self) -> int:
        """Packets sealed under the present boot."""
        return self._counter

    def rings_changed(self) -> None:
        """Another epoch seals now: replace the codec of the previous one at once, not at the next packet."""
        if self._key_number != self._keyring.in_use:
            # Another key may be in use since the last packet, and the former one gone.
            self._take_keys()
        elif self._rings is not None and self._epoch is not self._rings.sealing:
            self._take_ring_key()

    def _take_keys(self) -> None:
        """Switch to the key in use, and to the epoch that seals."""
        number = self._keyring.in_use
        suite = self._keyring.suite.number
        self._codec = self._keyring.codec(number, self.node_id, self._boot)
        self.segment_key = self._keyring.segment_key(number, self.node_id, self._boot)
        self._prefixes = {
            content: Prefix(
                MAGIC, VERSION, suite, content, number, self._cluster, self.node_id, self._boot
            ).pack()
            for content in Content
        }  # fmt: skip
        self._key_number = number
        self._take_ring_key()

    def _take_ring_key(self) -> None:
        """Seal data and tokens with the present epoch, if there is one."""
        number, suite = self._key_number, self._keyring.suite.number
        self._epoch = epoch = self._rings.sealing if self._rings is not None else None
        self._data_codec = self._codec
        self._data_prefix, self._token_prefix = self._prefixes[Content.FRAME], self._prefixes[Content.TOKEN]
        if epoch is not None:
            cluster = self._cluster & ~TAG_MASK | epoch.tag
            ring = Prefix(MAGIC, RING_VERSION, suite, Content.FRAME, number, cluster, self.node_id, self._boot)
            self._data_prefix, self._token_prefix = ring.pack(), ring._replace(content=Content.TOKEN).pack()
            self._data_codec = self._keyring.ring_codec(number, epoch.secret, self.node_id, self._boot)
