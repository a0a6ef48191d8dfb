"""Packet security for a host: seals and opens packets, and changes keys at run time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from services.totem.security.agreement import Agreement
from services.totem.security.complaints import Complaint
from services.totem.security.envelope import cluster_number
from services.totem.security.keys import Keyring
from services.totem.security.marks import SegmentKeys
from services.totem.security.opener import Opener, Reply, Sourced
from services.totem.security.ring_keys import NEVER_NS, RingKeys
from services.totem.security.sealer import Sealer
from services.totem.security.suites import Suite


class PacketSecurity:
    """Packet security of one boot of one node.

    `boot`: 16 random bytes, drawn for this boot alone; `draw_nonce`: returns 16 random bytes; `members`: the nodelist's
    node ids, or None without one; `draw_secret`: returns 32 random bytes for the secrets of rings, None: they have
    none; `secrecy_required`: whether this node enters no ring without a secret. Raises `keys.KeyringError`.
    """

    def __init__(
        self, suite: Suite, key: bytes, cluster_name: str, node_id: int, members: frozenset[int] | None, boot: bytes,
        draw_nonce: Callable[[], bytes], draw_secret: Callable[[], bytes] | None = None, *,
        secrecy_required: bool = False,
    ) -> None:  # fmt: skip
        self.suite = suite
        self.cluster = cluster_number(cluster_name)
        """The number of the cluster in its envelopes."""
        self._keyring = Keyring(suite, cluster_name, key)
        self._datagrams_cut = 0
        self.rings: RingKeys | None = None
        """The secrets of forward secret rings; None: there are none."""
        self.agreement: Agreement | None = None
        """The agreement on these secrets, which the ring calls."""
        if draw_secret is not None:
            self.rings = RingKeys(self._keyring)
            self.agreement = Agreement(self._keyring, self.rings, node_id, draw_secret, required=secrecy_required)
        self.sealer = sealer = Sealer(self._keyring, cluster_name, node_id, boot, self.rings)
        """The end that seals."""
        self.opener = Opener(self._keyring, sealer, cluster_name, node_id, members, draw_nonce, self.rings)
        """The end that opens. It holds the state of the senders."""
        self.seal: Callable[[bytes], bytes] = sealer.seal
        """The datagram that carries a frame, for everybody."""
        self.seal_for: Callable[[int, bytes], bytes] = sealer.seal_for
        """The datagram that carries a frame, for one node alone."""
        self.seal_all: Callable[[Sequence[bytes]], list[bytes]] = sealer.seal_all
        """`seal` for many frames."""
        self.seal_to_keep: Callable[[bytes], bytes] = sealer.seal_to_keep
        """`seal` for a frame that is kept, to be sent later or never."""
        self.open: Callable[[bytes, str, int], bytes | None] = self.opener.open
        """`open(datagram, source IP, now_ns)`: the frame, if there is one now. Take the replies and the released frames
        after every call."""
        if self.rings is not None:
            self.rings.on_ended = self._rings_ended

    def open_known(self, datagrams: Sequence[Sourced], opened: list[Sourced], start: int) -> int:
        """`open` for the datagrams from `start` on, up to the first one that needs more than opening."""
        return self.opener.open_known(datagrams, opened, start)

    def set_members(self, members: frozenset[int] | None) -> None:
        """Change the nodelist; None: every node that has the key."""
        self.opener.set_members(members)

    # -- marks of segments (`marks.SegmentMarks`)

    @property
    def sender(self) -> int:
        """This node."""
        return self.sealer.node_id

    def next_number(self) -> int:
        """The number of the next datagram that this node cuts; unique within a boot."""
        self._datagrams_cut += 1
        return self._datagrams_cut

    def own_key(self) -> bytes:
        """The key that marks this node's segments."""
        return self.sealer.segment_key

    def keys_of(self, sender: int) -> SegmentKeys | None:
        """The keys that mark another node's segments; None if no boot of it is confirmed."""
        return self.opener.segment_keys(sender)

    # -- counters and output

    @property
    def counters(self) -> Counter[str]:
        """Refused packets by reason, and outcomes of challenges."""
        return self.opener.counters

    @property
    def has_output(self) -> bool:
        """Whether there is something to take."""
        opener = self.opener
        return bool(opener.replies or opener.released or opener.complaints.lines)

    def take_replies(self) -> list[Reply]:
        """Sealed datagrams to send."""
        taken, self.opener.replies = self.opener.replies, []
        return taken

    def take_released(self) -> list[tuple[bytes, str]]:
        """Frames that waited for their sender's answer, with their source IPs, in order of arrival."""
        taken, self.opener.released = self.opener.released, []
        return taken

    def take_complaints(self) -> list[Complaint]:
        """The refusals to log."""
        return self.opener.complaints.take()

    def begin_boot(self, boot: bytes) -> None:
        """This process may be a copy: continue under `boot`, 16 bytes that no copy has. To the others it looks as if
        the node had restarted, and to the node, as if they had."""
        if self.agreement is not None:
            self.agreement.forget()
        self.sealer.begin_boot(boot)
        self.opener.forget_all()

    # -- secrets of rings

    @property
    def tend_due_ns(self) -> int:
        """When to call `tend`, even if nothing comes."""
        return NEVER_NS if self.rings is None else self.rings.due_ns

    def tend(self, now_ns: int) -> None:
        """Start the next epoch of a ring if it is due."""
        if self.rings is not None:
            self.rings.tend(self.sealer.sealed, now_ns)

    def _rings_ended(self) -> None:
        self.sealer.rings_changed()
        self.opener.rings_ended()

    # -- keys

    @property
    def key_numbers(self) -> tuple[int, ...]:
        """The keys under which packets are accepted."""
        return self._keyring.numbers

    @property
    def key_in_use(self) -> int:
        """The key that seals."""
        return self._keyring.in_use

    def key_identity(self, number: int) -> bytes:
        """The identity of a valid key, for other nodes. Raises `keys.KeyringError`."""
        return self._keyring.identity(number)

    def install_key(self, key: bytes) -> int:
        """Accept packets under this key too; returns its number. Raises `keys.KeyringError`."""
        number = self._keyring.install(key)
        self.opener.key_added()
        return number

    def use_key(self, number: int) -> None:
        """Seal with this key from now on. Raises `keys.KeyringError`."""
        self._keyring.use(number)

    def remove_key(self, number: int) -> None:
        """Refuse packets under this key from now on. Raises `keys.KeyringError`."""
        self._keyring.remove(number)
        self.opener.forget_key(number)
