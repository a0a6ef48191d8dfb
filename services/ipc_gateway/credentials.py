"""Who is at the other end of a connection, as the kernel reports it, and who may connect.

On the Unix socket the kernel reports the user, group and process that has connected (SO_PEERCRED). Clients on other
hosts are known by their keys (`zap`). In both cases the connection gets a stamp, which comes with every envelope. It
cannot be forged, and no two connections have the same.
"""

import os
from pathlib import Path
from typing import NamedTuple

from rondo.node.process_watch import start_time_of
from rondo.protocol.cpg_gateway import REMOTE_UID
from services.ipc_gateway import remote


class Peer(NamedTuple):
    """A process, as the kernel reports it. pid 0: it is not visible here (its pid namespace is not below ours). Its
    session then has a number above all process ids.

    Or a client on another host: its uid and gid are REMOTE_UID, and `key` is the beginning of its public key.
    """

    uid: int
    gid: int
    pid: int
    key: int = 0

    @property
    def is_remote(self) -> bool:
        """True for a client on another host."""
        return self.uid == REMOTE_UID

    @property
    def is_hidden(self) -> bool:
        """True for a process of this machine that is not visible here."""
        return not self.is_remote and (self.pid == 0 or self.pid >= remote.REMOTE_PID_FIRST)

    def __str__(self) -> str:
        if self.is_remote:
            return (
                f"remote client {self.pid}, key {self.key:016x}..." if self.pid else f"remote, key {self.key:016x}..."
            )
        return f"pid {self.pid}, uid {self.uid}"


class Identity(NamedTuple):
    """A process with all its groups, for SAM, which starts programs in its name."""

    pid: int
    start_time: int
    uid: int
    gid: int
    groups: tuple[int, ...]


class Access:
    """The users that may connect: root, the executive's own user, and those that uidgid{} names."""

    def __init__(self, uids: tuple[int, ...], gids: tuple[int, ...]) -> None:
        self.change(uids, gids)

    def change(self, uids: tuple[int, ...], gids: tuple[int, ...]) -> None:
        """uidgid{} names other users from now on. Existing connections stay."""
        self._uids = frozenset((0, os.geteuid(), *uids))
        self._gids = frozenset(gids)
        self.is_open_to_others = bool(uids or gids)
        """True if users besides root and the executive's own may connect."""

    def allows(self, peer: Peer) -> bool:
        """True if this process may connect."""
        return peer.uid in self._uids or peer.gid in self._gids


def peer_of_stamp(stamp: str) -> Peer:
    """The peer to which `Doorkeeper` gave this stamp."""
    uid, gid, pid, key, *_ = stamp.split(":")
    return Peer(int(uid), int(gid), int(pid), int(key))


def start_time_of_stamp(stamp: str) -> int:
    """The start time of the process that had connected; 0 if unknown, GONE if it ended at once."""
    return int(stamp.rpartition(":")[2])


class Doorkeeper:
    """Decides who may connect, and makes the stamps."""

    def __init__(self, access: Access) -> None:
        self.denied: list[Peer] = []
        """Peers that were refused since the owner last cleared this."""
        self._access = access
        self._connections = 0

    def admits(self, peer: Peer) -> bool:
        """True if a process of this machine may connect. A refusal is recorded."""
        allowed = self._access.allows(peer)
        if not allowed:
            self.denied.append(peer)
        return allowed

    def stamp(self, peer: Peer, start_time: int = 0) -> str:
        """The stamp of a new connection. `start_time`: of the process that has connected, if known."""
        self._connections += 1
        return f"{peer.uid}:{peer.gid}:{peer.pid}:{peer.key}:{self._connections}:{start_time}"


def identity_of(peer: Peer, started: int = 0) -> Identity | None:
    """The present user and groups of a peer; None if it is gone, or is not the process that had connected.

    The kernel recorded user and group at connect. `started` is the start time of the process that connected (0:
    unknown). A process that has changed its user since, or that has the pid of a dead one, is refused.
    """
    start_time = start_time_of(peer.pid) if peer.pid else 0
    if not start_time or started not in (0, start_time):
        return None
    try:
        lines = Path(f"/proc/{peer.pid}/status").read_bytes().splitlines()
        fields = {name: value.split() for name, _, value in (line.partition(b":") for line in lines)}
        # The line has real, effective, saved and file system id. The kernel vouched for the effective one.
        is_same = int(fields[b"Uid"][1]) == peer.uid and int(fields[b"Gid"][1]) == peer.gid
        groups = tuple(map(int, fields[b"Groups"]))
    except (OSError, KeyError, IndexError, ValueError):
        return None
    if not is_same or start_time_of(peer.pid) != start_time:
        return None
    return Identity(peer.pid, start_time, peer.uid, peer.gid, groups)
