"""Control's state: votes, keys, and the events about them. It follows from the log, from commands and from time.

`apply` evaluates entries of the log, `command` methods change something for a client, `advance` runs timers. `outbox`
has messages to send, `replies` answers to sync steps, `notices` log lines. The histories hold events. `snapshot` is
everything that a restarted process needs.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rondo import __version__
from rondo.config import NodeConfig
from rondo.protocol import totem_control as log
from rondo.protocol.envelope import BusError, pack, unpack
from services.control import candidates, config_version, member_keys, told
from services.control.cfg import wire as cfg
from services.control.cfg.reload import Candidate, Reload
from services.control.cmap.keymap import Keymap
from services.control.cmap.values import Type, Value, make
from services.control.config_version import ConfigVersions, Eviction
from services.control.history import History
from services.control.introductions import Introductions, introduction
from services.control.message_counts import MessageCounts
from services.control.quorum.events import Event, NodeState, Notice, QuorumChanged, Ring, StoreBarrier
from services.control.quorum.nodelist import NodelistTracker
from services.control.quorum.settings import settle
from services.control.quorum.status import KEYS as QUORUM_KEYS
from services.control.quorum.status import runtime_keys
from services.control.quorum.votequorum import Votequorum
from services.control.quorum.wire import Flag
from services.control.setup import Setup, setup_of
from services.control.statistics import IPCS

CMAP, CFG, QUORUM, VOTEQUORUM = 0, 1, 3, 5
_SNAPSHOT_VERSION = 4


class Core:
    """One node's control plane."""

    def __init__(self, setup: Setup, stored_barrier: int = 0) -> None:
        """`stored_barrier`: the last `StoreBarrier` before a restart, 0 = none. Raises `SettingsError`."""
        self.setup = setup
        self.n = 0
        """Position up to which the log is evaluated."""
        self.ring = Ring(0, 0)
        self.members: tuple[int, ...] = ()
        self.keys = Keymap()
        self.quorum_history, self.key_history = History(), History()
        self.versions = ConfigVersions()
        self.introductions = Introductions()
        self.counts = MessageCounts()
        self.cleared: dict[str, int] = {}  # counters of the map stats at the last clear
        self.evict: Eviction | None = None
        self.is_shut_down = False
        """The shutdown that was requested here has been delivered: this node stops."""
        self.reform_wanted = False
        """A program wants the ring to be formed anew. The next commit says so to totem."""
        self.reload = Reload(setup.node)
        self.adopted: bytes | None = None
        """The configuration in force, while other services of this node may not know it: the caller tells them."""
        self.outbox: list[bytes] = []
        self.replies: list[tuple[int, list[bytes]]] = []
        """(position of the step, messages)"""
        self.notices: list[str] = []
        self.barrier: int | None = None
        """Expected votes to store on disk."""
        self.changed = True
        """Whether the state has changed since the last snapshot."""
        self.ignored: Counter[str] = Counter()
        """Messages of others that had no effect, by reason."""
        self._quorate_told: bool | None = None
        """The quorum state that was logged last."""
        self._nodelist = NodelistTracker()
        self.votes: Votequorum | None = None
        for key, value in setup.keys.items():
            self.keys.put(key, value)
        self._start_votes(stored_barrier)
        self.keys.changes.clear()

    def _start_votes(self, stored_barrier: int) -> None:
        if self.setup.options is None:
            return
        settings, notes = settle(self.setup.options, self.setup.node, self.setup.nodelist, stored_barrier)
        self.notices += ["Using quorum provider corosync_votequorum", *notes]
        self.votes = Votequorum(self.setup.node, settings, stored_barrier)
        self.votes.start()
        self._settle_votes()

    # The log.

    def apply(self, entries: list[list[Any]], now_ns: int) -> None:
        """Evaluate entries `[n, entry]`, which follow position `n`."""
        for n, entry in entries:
            self.n = n
            kind = entry[0]
            if kind == log.MESSAGE:
                self._message(entry[1], entry[3], now_ns)
            elif kind == log.TRANSITIONAL:
                self._nodelist.transitional(entry[1])
            elif kind == log.REGULAR:
                self._regular(Ring(*entry[1]), entry[2], now_ns)
            elif kind == log.SYNC_STEP:
                self.replies.append((n, self._sync_step(entry[2])))
            elif kind == log.SYNC_ACTIVATE:
                self._sync_activate(entry[2])
            elif kind == log.SYNC_COMPLETE:
                self._introduce()
            self._settle_reload()
            self._settle_votes()
        self._collect_changes()
        self.changed = True

    def _message(self, sender: int, data: bytes, now_ns: int) -> None:
        service = data[2]
        self.counts.add(data, is_own=sender == self.setup.node)
        if service == VOTEQUORUM and self.votes is not None:
            self.votes.message(sender, data)
        elif service == CFG:
            try:
                self._cfg(sender, cfg.decode(data), now_ns)
            except cfg.MalformedError:
                self.ignored["malformed"] += 1
        elif service == CMAP:
            try:
                version = self.versions.heard(sender, data, self.members)
            except config_version.MalformedError:
                self.ignored["malformed"] += 1
                return
            if version is not None:
                self.keys.put(f"runtime.members.{sender}.config_version", Value(Type.U64, version))
        else:
            self.ignored["of a service that is not here"] += 1

    def _cfg(self, sender: int, message: cfg.Message | None, now_ns: int) -> None:
        if isinstance(message, cfg.KillNode):
            reason = f": {message.reason}" if message.reason else ""
            self.notices.append(f"Node {message.node} is killed by node {sender}{reason}")
            if message.node == self.setup.node:
                self.evict = Eviction(False, f"Killed by node {sender}{reason}")
        elif isinstance(message, cfg.Shutdown):
            self.notices.append(f"Node {sender} was shut down by an administrator or a program.")
            self.is_shut_down = self.is_shut_down or sender == self.setup.node
        elif isinstance(message, cfg.Reload):
            self.reload.heard_reload(message.source, message.number)
        elif isinstance(message, cfg.AmongRondo):
            if not self.introductions.heard(sender, message.body, self.setup.digests):
                self.reload.heard(sender, message.body, now_ns)
            elif not self.reload.check_wanted:
                self.notices += self.introductions.lines(sender)

    def _introduce(self) -> None:
        """Announce this node's software and the digests of its configuration to the others."""
        if len(self.members) > 1:
            said = introduction(f"rondo {__version__}", self.setup.digests)
            self.outbox.append(cfg.encode_among_rondo(self.setup.node, said))

    def _regular(self, ring: Ring, members: list[int], now_ns: int) -> None:
        self.versions.ring_changed()
        self.introductions.ring_changed()
        member_keys.changed(self.keys, self.setup.addresses, self.members, members)
        self.ring, self.members = ring, tuple(sorted(members))
        self._nodelist.sync_init(ring, members)
        self.reload.ring_changed()
        if self.votes is not None:
            self.votes.sync_init(ring, members, now_ns)

    def _sync_step(self, service: int) -> list[bytes]:
        if service == CMAP:
            return [config_version.encode(self.setup.config_version)]
        if service == VOTEQUORUM and self.votes is not None:
            return self.votes.sync_step()
        return []

    def _sync_activate(self, service: int) -> None:
        if service == CMAP:
            self.evict = self.versions.judge(self.setup.config_version, self.members) or self.evict
        elif service == QUORUM:
            self._tell(self._nodelist.sync_activate())
        elif service == VOTEQUORUM and self.votes is not None:
            self.votes.sync_activate()

    # Time.

    def next_deadline_ns(self) -> int | None:
        """When `advance` is to be called; None: no need."""
        dues = [self.reload.next_deadline_ns(), self.votes.next_deadline_ns() if self.votes is not None else None]
        return min((due_ns for due_ns in dues if due_ns is not None), default=None)

    def advance(self, now_ns: int) -> None:
        """Run the timers that are due."""
        due_ns = self.next_deadline_ns()
        if due_ns is not None and due_ns <= now_ns:
            self.reload.advance(now_ns)
            if self.votes is not None:
                self.votes.advance(now_ns)
            self.after_command()

    # Commands of clients.

    def set_expected(self, votes: int) -> bool:
        """Set the cluster's expected votes. False: votequorum refuses. `votes` must be there."""
        assert self.votes is not None
        is_done = self.votes.set_expected(votes)
        self.after_command()
        return is_done

    def set_votes(self, node: int, votes: int) -> bool:
        """Set a node's votes. False: votequorum refuses. Raises KeyError: there is no such node."""
        assert self.votes is not None
        is_done = self.votes.set_votes(node, votes)
        self.after_command()
        return is_done

    def cancel_wait_for_all(self) -> None:
        """End wait_for_all on all nodes."""
        assert self.votes is not None
        self.votes.cancel_wait_for_all()
        self.after_command()

    def kill_node(self, node: int, reason: str) -> None:
        """Make a member leave the ring. Raises KeyError if it is no member."""
        if node not in self.members:
            raise KeyError(node)
        self.outbox.append(cfg.encode_kill(node, reason))
        self.after_command()

    def shut_down(self) -> None:
        """Stop this node in an orderly way: `is_shut_down` follows once the message is delivered."""
        self.outbox.append(cfg.encode_shutdown())
        self.after_command()

    def propose_reload(self, voters: list[int], now_ns: int) -> int:
        """Propose a reload to all nodes; none may be pending. Returns its number. `voters`: the members that are
        Rondo."""
        number = self.reload.propose(voters, now_ns)
        self.after_command()
        return number

    def checked(self, number: int, candidate: Candidate) -> None:
        """The file was read, as `reload.check_wanted` asked. `number`: `reload.check_number` at that time."""
        barrier = self.votes.tracking_barrier if self.votes is not None else 0
        self.reload.checked(number, candidates.judged(candidate, self.members, self.setup, barrier))
        self.after_command()

    def all_told(self, adopted: bytes) -> None:
        """All services of this node have been told this configuration."""
        if self.adopted == adopted:
            self.adopted = None
            self.changed = True

    def clear_statistics(self, counted: dict[str, int]) -> None:
        """Count from these values on."""
        self.cleared |= counted
        self.after_command()

    def leave(self) -> bool:
        """This node is about to leave in an orderly way. Returns whether the others are told; then `has_left`
        follows."""
        if self.votes is None or not self.votes.settings.allow_downscale or not self.members:
            return False
        self.votes.leave()
        self.after_command()
        return True

    @property
    def has_left(self) -> bool:
        """Whether this node's announcement that it leaves was delivered."""
        return self.votes is not None and self.votes.own.state == NodeState.LEAVING

    def stay(self) -> None:
        """This process may have announced before its restart that the node leaves, but the node stays: take that
        back."""
        if self.votes is not None and self.votes.own.flags & Flag.LEAVING:
            self.votes.stay()
            self.after_command()

    def after_command(self) -> None:
        """A command has changed something here."""
        self._settle_reload()
        self._settle_votes()
        self._collect_changes()
        self.changed = True

    # What follows.

    def _settle_reload(self) -> None:
        """Take the reload's output. If it has decided so, put the new configuration in force."""
        reload = self.reload
        self.outbox += reload.outbox
        reload.outbox.clear()
        self.notices += reload.notices
        reload.notices.clear()
        adopt, reload.adopt = reload.adopt, None
        if adopt is None or adopt.config is None:
            return
        self.setup = candidates.come_into_force(adopt.config, self.setup, self.keys, self.votes)
        member_keys.moved(self.keys, self.setup.addresses, self.members)
        self.adopted = adopt.config
        self.introductions.compare(self.setup.digests)
        self._introduce()
        self.notices.append(f"The configuration was read anew. Changed: {', '.join(adopt.changed) or 'nothing'}.")

    def _settle_votes(self) -> None:
        """Take votequorum's output."""
        votes = self.votes
        if votes is None:
            return
        self.outbox += votes.outbox
        votes.outbox.clear()
        for event in votes.events:
            self._tell(event)
        votes.events.clear()
        keys = {key: make(_KEY_TYPES[kind], value) for key, (kind, value) in runtime_keys(votes).items()}
        self.keys.replace_below(QUORUM_KEYS, keys)

    def _tell(self, event: Event) -> None:
        if isinstance(event, StoreBarrier):
            self.barrier = event.expected_votes
        elif isinstance(event, Notice):
            self.notices.append(event.text)
        else:
            if not isinstance(event, QuorumChanged) or event.quorate != self._quorate_told:
                self.notices += told.lines(event)
            if isinstance(event, QuorumChanged):
                self._quorate_told = event.quorate
            self.quorum_history.add(told.event(event) | {"position": self.n})

    def _collect_changes(self) -> None:
        for change in self.keys.changes:
            self.key_history.add(*told.change(change))
        self.keys.changes.clear()

    # Snapshots.

    def snapshot(self) -> bytes:
        """The whole state at `n`."""
        self.changed = False
        return pack(
            [
                _SNAPSHOT_VERSION,
                [list(self.ring), list(self.members)],
                [self.adopted, self.reload.snapshot()],
                [None if self.evict is None else list(self.evict), self.is_shut_down],
                [self.versions.snapshot(), self.introductions.snapshot(), self.counts.snapshot(), self.cleared],
                self.keys.snapshot(),
                [self.quorum_history.snapshot(), self.key_history.snapshot()],
                self._nodelist.snapshot(),
                None if self.votes is None else self.votes.snapshot(),
            ]
        )

    def restore(self, snapshot: bytes, n: int) -> None:
        """Restore the state of a snapshot of position `n`. Raises `BusError`."""
        try:
            version, *parts = unpack(snapshot)
            if version != _SNAPSHOT_VERSION:
                raise BusError(f"snapshot of version {version}")
            ring, (self.adopted, reload), end, said, keys, histories, nodelist, votes = parts
            if self.adopted is not None:
                self.setup = setup_of(NodeConfig.from_msgpack(self.adopted))
            self.reload = Reload.restore(self.setup.node, reload)
            self.ring, self.members = Ring(*ring[0]), tuple(ring[1])
            self.evict, self.is_shut_down = None if end[0] is None else Eviction(*end[0]), end[1]
            self.versions = ConfigVersions.restore(said[0])
            self.introductions = Introductions.restore(said[1], self.setup.digests)
            self.counts, self.cleared = MessageCounts.restore(said[2]), said[3]
            self.keys = Keymap.restore(keys)
            self.quorum_history, self.key_history = map(History.restore, histories)
            self._nodelist = NodelistTracker.restore(nodelist)
            self.votes = None if votes is None else Votequorum.restore(votes)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise BusError(f"not a snapshot: {error}") from None
        self.n = n
        self.reform_wanted = False
        self.outbox.clear()
        self.replies.clear()
        self.notices.clear()
        self.changed = False

    def reborn(self, stored_barrier: int) -> Core:
        """A fresh state after the ring process has died, with the keys that programs have set and the event numbers."""
        fresh = Core(self.setup, stored_barrier)
        for key, value in self.keys.items():
            if not key.startswith("runtime.") and key not in self.setup.keys:
                fresh.keys.put(key, value)
        fresh.adopted = self.adopted
        # The counters of the ring's process begin anew; those of the gateways go on.
        fresh.cleared = {key: count for key, count in self.cleared.items() if key.startswith(IPCS)}
        fresh.quorum_history, fresh.key_history = self.quorum_history, self.key_history
        for member in self.members:
            count = self.keys.get(f"runtime.members.{member}.join_count")
            if count is not None:
                fresh.keys.put(f"runtime.members.{member}.join_count", count)
        fresh.keys.changes.clear()
        return fresh


_KEY_TYPES = {"u8": Type.U8, "u32": Type.U32}
