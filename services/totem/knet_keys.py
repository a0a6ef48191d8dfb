"""The keys of a node under knet: changed by `rondo key` in a ring of Rondo nodes, or as Corosync does it.

**As Corosync does it.** The administrator replaces the key file on all nodes and runs `corosync-cfgtool -R` on one.
RELOAD_CONFIG is delivered in the ring's order. Each node then reads its key file, and accepts packets under both keys.
Each C node sends CRYPTO_RECONFIG phase 1. When its own phase 1 is delivered, it seals with the new key and sends phase
2. When its own phase 2 is delivered, it forgets the old key. This node sends neither. It seals with the new key from
the first phase 1 of any node, or the first packet under the new key, whichever it sees first: the packet with the phase
may be one that came before this node had the key, and a C node that has forgotten the old one hears nobody who still
seals with it. It forgets the old key when every C node in the ring has sent phase 2. In a ring without C nodes nobody
sends phases. A new key file then has no effect until `rondo key` or a restart, and this module does nothing.

The key file (at most 4 KiB) is read in the loop, without a thread: packets after RELOAD may already need the new key.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Collection, Iterable
from pathlib import Path

from rondo.config import NodeConfig
from rondo.config.key import KeyFileError, fingerprint, read_key
from rondo.node.logs import notice
from services.totem.key_changes import KeyChanges
from services.totem.keyring_file import Keys, KeyStore, stored_keys
from services.totem.protection import shared_key
from services.totem.transport.knet.crypto import PacketCipher, make_cipher
from services.totem.transport.knet.keyring import Keyring

RELOAD, CRYPTO_RECONFIG = 3, 4
"""Functions of Corosync's cfg."""

PHASE_SWITCH, PHASE_FORGET = 1, 2

_PHASE = struct.Struct("<16xI4x")
_log = logging.getLogger("TOTEM")


class KnetKeys(KeyChanges):
    """Changes the keyring with which knet seals and opens packets."""

    def __init__(self, keyring: Keyring, keys: Keys, store: KeyStore | None, suite_name: str, key_file: str) -> None:
        super().__init__(keyring, keys, store, suite_name)
        self.keyring = keyring
        self.has_c_members = False
        """Whether the ring has members that do not know `rondo key`."""
        self._key_file = key_file
        self._old = ""
        """Fingerprint of the key to be forgotten; "" if no change is in progress."""
        self._new = ""
        self._forgotten_by: set[int] = set()
        self._c_members: frozenset[int] = frozenset()

    def use_key(self, name: str, others: Iterable[int], now_ns: int, *, force: bool = False) -> str:
        self._refuse_with_c_members(force)
        return super().use_key(name, others, now_ns, force=force)

    def remove_key(self, name: str, others: Iterable[int], now_ns: int, *, force: bool = False) -> str:
        self._refuse_with_c_members(force)
        return super().remove_key(name, others, now_ns, force=force)

    def ring_changed(self, members: Collection[int], rondo_members: Collection[int], now_ns: int) -> None:
        """The ring has these members. `rondo_members`: those of them that are Rondo."""
        self._c_members = frozenset(members) - frozenset(rondo_members)
        self.has_c_members = bool(self._c_members)
        self._finish(now_ns)

    def message(self, sender: int, data: bytes, now_ns: int) -> bool:
        """A cfg message was delivered. Returns whether the keys have changed."""
        function = int.from_bytes(data[:2], "little")
        if function == RELOAD:
            return self._reload(now_ns)
        if function != CRYPTO_RECONFIG or not self._new or len(data) < _PHASE.size:
            return False
        (phase,) = _PHASE.unpack_from(data)
        if phase == PHASE_SWITCH and self.key_fingerprint != self._new:
            self._switch(now_ns)
            return True
        if phase == PHASE_FORGET:
            self._forgotten_by.add(sender)
            return self._finish(now_ns)
        return False

    def follow(self, now_ns: int) -> bool:
        """Packets have been opened. Returns whether the keys have changed: somebody seals with the new key already."""
        heard, self.keyring.heard_number = self.keyring.heard_number, 0
        if not heard or not self._new or fingerprint(self._keys[heard]) != self._new:
            return False
        self._switch(now_ns)
        return True

    def _switch(self, now_ns: int) -> None:
        super().use_key(self._new, (), now_ns, force=True)

    def _reload(self, now_ns: int) -> bool:
        if not self.has_c_members or not self._key_file:
            return False
        try:
            key = read_key(Path(self._key_file))
            if fingerprint(key) == self.key_fingerprint:
                return False
            old = self.key_fingerprint
            self._new = self.install_key(key, now_ns)
        except (KeyFileError, ValueError) as error:
            _log.error("The key of the other nodes may change, and this node cannot follow: %s", error)
            return False
        self._old, self._forgotten_by = old, set()
        notice(_log, "The ring is given another key, %s.", self._new)
        return True

    def _finish(self, now_ns: int) -> bool:
        """Forget the old key if no member seals with it any more."""
        if not self._new or self.key_fingerprint != self._new or not self._c_members <= self._forgotten_by:
            return False
        super().remove_key(self._old, (), now_ns, force=True)
        self._old = self._new = ""
        return True

    def _refuse_with_c_members(self, force: bool) -> None:
        if self.has_c_members and not force:
            nodes = " ".join(map(str, sorted(self._c_members)))
            raise ValueError(
                f"nodes of C Corosync are in the ring ({nodes}); replace the key file on all nodes, then run "
                "corosync-cfgtool -R on one of them"
            )


def make_knet_keys(config: NodeConfig, state_dir: Path | None = None) -> KnetKeys | None:
    """The keys of a node with `transport: knet`; None without encryption. Raises ConfigError.

    `state_dir`: the directory for keys that are installed while the node runs.
    """
    settings = config.security
    if config.transport != "knet" or not settings.enabled:
        return None

    def make(key: bytes) -> PacketCipher:
        return make_cipher(settings.cipher, settings.hash, key, os.urandom(16))

    key = shared_key(config)
    keys = stored_keys(state_dir, key) if state_dir is not None else Keys((key,), key)
    store = KeyStore(state_dir, key) if state_dir is not None else None
    name = settings.hash if settings.cipher == "none" else f"{settings.cipher}/{settings.hash}"
    return KnetKeys(Keyring(make, keys.in_use), keys, store, name, settings.key_file)
