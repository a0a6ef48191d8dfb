"""Packet security at the sockets: the key and the randomness come in here, log lines and challenges go out.

Everything else about it is in services/totem/security, which does no I/O.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rondo.config import ConfigError, Fault, NodeConfig
from rondo.config.key import KEY_BYTES_MAX, KEY_BYTES_MIN, KeyFileError, fingerprint, read_key, write_key
from rondo.config.node import SecuritySettings
from rondo.node.logs import notice
from services.totem.keyring_file import Keys, KeyStore, stored_keys
from services.totem.security.complaints import Complaint
from services.totem.security.envelope import BOOT_SIZE, NONCE_SIZE
from services.totem.security.keybook import KeyBook
from services.totem.security.opener import TEXTS, Reason
from services.totem.security.packets import PacketSecurity
from services.totem.security.suites import SUITES
from services.totem.strangers import foreign_text, named
from services.totem.transport.base import Datagram, Transport
from services.totem.wire.notices import KeyNotice

_log = logging.getLogger("TOTEM")


class Protection:
    """Seals and opens for the link."""

    def __init__(self, security: PacketSecurity, keys: Keys, store: KeyStore | None = None) -> None:
        """`keys`: those of `security`, which has the one in use already and is given the others here."""
        self.security = security
        self.seal = security.seal
        self.seal_for = security.seal_for
        self.seal_all = security.seal_all
        self.seal_to_keep = security.seal_to_keep
        self.keys_of_others = KeyBook()
        self.on_refused: Callable[[str, str, int], None] = lambda _source, _why, _now_ns: None
        """Called for each line about a refused packet: whose it was, why, and when."""
        self._store = store
        self._keys = {security.install_key(key): key for key in keys.valid}
        security.use_key(security.install_key(keys.in_use))

    @property
    def overhead_bytes(self) -> int:
        """By how much a sealed packet is longer at most."""
        return self.security.suite.overhead_bytes

    def open(self, datagrams: Sequence[Datagram], transport: Transport, now_ns: int) -> list[Datagram]:
        """The frames in the datagrams, and those that waited; challenges and answers leave through `transport`."""
        opened: list[Datagram] = []
        security, at = self.security, 0
        while (at := security.open_known(datagrams, opened, at)) < len(datagrams):
            datagram, source = datagrams[at]
            at += 1
            frame = security.open(datagram, source[0], now_ns)
            if frame is not None:
                opened.append((frame, source))
                continue
            if not security.has_output:
                continue
            for reply in security.take_replies():
                transport.reply(reply.node, reply.source, reply.datagram)
            opened += [(waited, (address,)) for waited, address in security.take_released()]
            for complaint in security.take_complaints():
                reason = Reason(complaint.reason)
                text = foreign_text(datagram) if reason in _FOREIGN else TEXTS[reason]
                self.on_refused(complaint.source, text, now_ns)
                _complain(complaint, named(complaint.source, transport.node_at(complaint.source)), text)
        return opened

    def begin_life(self) -> None:
        """This memory may have been copied: no packet is sealed under its present boot any more."""
        self.security.begin_boot(draw_boot())
        notice(_log, "The clock or the machine says that this node may be a copy of itself: it begins a new life.")

    @property
    def key_fingerprint(self) -> str:
        """Of the key in use."""
        return fingerprint(self._keys[self.security.key_in_use])

    # -- keys, changed while the node runs

    @property
    def has_several_keys(self) -> bool:
        """Whether a key is being changed."""
        return len(self._keys) > 1

    def key_notice(self, node_id: int) -> KeyNotice:
        """What the other nodes are to know of this node's keys."""
        identity = self.security.key_identity
        valid = tuple(identity(number) for number in self.security.key_numbers)
        return KeyNotice(node_id, valid, identity(self.security.key_in_use))

    def install_key(self, key: bytes, now_ns: int) -> str:
        """Take packets under this key too; its fingerprint. Raises ValueError with one line."""
        if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
            raise ValueError(f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, not {len(key)}")
        self._keys[self.security.install_key(key)] = key
        self._keys_changed(now_ns, "is installed", fingerprint(key))
        return fingerprint(key)

    def use_key(self, name: str, others: Iterable[int], now_ns: int, *, force: bool = False) -> str:
        """Seal with this key from now on; its fingerprint. Raises ValueError with one line.

        `others`: the nodes that must take packets under it; `force`: whether they do or not.
        """
        number = self._number_of(name)
        having = self.keys_of_others.having(self.security.key_identity(number), now_ns)
        self._agreed(others, having, force, now_ns, "does not have this key", "install it there first")
        self.security.use_key(number)
        self._keys_changed(now_ns, "is in use", self.key_fingerprint)
        return self.key_fingerprint

    def remove_key(self, name: str, others: Iterable[int], now_ns: int, *, force: bool = False) -> str:
        """Refuse packets under this key from now on; its fingerprint. Raises ValueError with one line."""
        number = self._number_of(name)
        told = fingerprint(self._keys[number])
        if number == self.security.key_in_use:
            raise ValueError(f"the key {told} is in use here; use another one first")
        using = self.keys_of_others.using(self.security.key_identity(number), now_ns)
        calm = [node for node in others if node not in using]
        self._agreed(others, calm, force, now_ns, "still seals with this key", "use another one there first")
        self.security.remove_key(number)
        del self._keys[number]
        self._keys_changed(now_ns, "is removed", told)
        return told

    def _agreed(
        self, others: Iterable[int], agreeing: list[int], force: bool, now_ns: int, what: str, mend: str
    ) -> None:
        """Refuse unless all others have told lately, and what they told agrees."""
        if force:
            return
        silent = self.keys_of_others.silent(others, now_ns)
        against = [node for node in others if node not in agreeing and node not in silent]
        if against:
            raise ValueError(f"{_nodes(against)} {what}; {mend}, or use --force and cut it off")
        if silent:
            raise ValueError(
                f"{_nodes(silent)} told nothing of its keys in the last seconds; start it and let it join the ring, "
                "or use --force and cut it off if it disagrees"
            )

    def _number_of(self, name: str) -> int:
        """The key of which `name` is the fingerprint, or a beginning of it that no other one has."""
        wanted = name.replace(":", "").lower()
        found = [n for n, key in self._keys.items() if wanted and fingerprint(key).replace(":", "").startswith(wanted)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(map(fingerprint, self._keys.values()))
        raise ValueError(f"{'several keys are' if found else 'no key is'} named {name}; there are: {known}")

    def _keys_changed(self, now_ns: int, what: str, told: str) -> None:
        notice(_log, "The key %s %s.", told, what)
        self.keys_of_others.tell_soon(now_ns)
        if self._store is not None:
            self._store.save(Keys(tuple(self._keys.values()), self._keys[self.security.key_in_use]))

    def key_status(self, others: Iterable[int], now_ns: int) -> dict[str, Any]:
        """What `rondo key status` shows; `stored` says how far the file is."""
        told, identity = self.keys_of_others, self.security.key_identity
        return {
            "suite": self.security.suite.name,
            "keys": [
                {
                    "fingerprint": fingerprint(key),
                    "in_use": number == self.security.key_in_use,
                    "nodes_having": told.having(identity(number), now_ns),
                    "nodes_using": told.using(identity(number), now_ns),
                }
                for number, key in self._keys.items()
            ],
            "nodes": list(others),
            "nodes_silent": told.silent(others, now_ns) if self.has_several_keys else [],
            "stored": "pending" if self._store is not None and self._store.unsaved else "yes",
            "store_error": self._store.error if self._store is not None else "",
        }

    def announce(self) -> None:
        """Say in the log how packets are protected, so that nodes can be compared."""
        _log.info("Packets are protected by %s, key fingerprint %s.", self.security.suite.name, self.key_fingerprint)

    def status(self) -> dict[str, Any]:
        """What `rondo status` shows of it."""
        security = self.security
        return {
            "suite": security.suite.name,
            "key_fingerprint": self.key_fingerprint,
            "key_in_use": security.key_in_use,
            "keys": list(security.key_numbers),
            "fingerprints": [fingerprint(key) for key in self._keys.values()],
        }

    def counters(self) -> dict[str, int]:
        """Refused packets by reason, and what became of challenges: `security_wrong_key` and so on."""
        return {f"security_{name}": count for name, count in self.security.counters.items()}


def _nodes(numbers: Iterable[int]) -> str:
    return "each of nodes " + " ".join(map(str, numbers)) if len(list(numbers)) > 1 else f"node {next(iter(numbers))}"


def make_protection(config: NodeConfig, state_dir: Path | None = None) -> Protection | None:
    """What the configuration asks for; None with security switched off. Raises ConfigError.

    `state_dir`: where keys are kept that were installed while the node ran.
    """
    settings = config.security
    if not settings.enabled or config.transport == "knet":
        return None
    suite = SUITES.get((settings.cipher, settings.hash))
    if suite is None:
        why = f"{settings.cipher} and crypto_hash {settings.hash} do not go together"
        raise ConfigError([Fault("error", None, "totem.crypto_cipher", why, "write crypto_cipher: aes256-gcm")])
    key = _key(settings)
    keys = stored_keys(state_dir, key) if state_dir is not None else Keys((key,), key)
    members = frozenset(config.members) or None
    security = PacketSecurity(
        suite,
        keys.in_use,
        config.cluster_name,
        config.node_id,
        members,
        draw_boot(),
        lambda: os.urandom(NONCE_SIZE),
    )
    return Protection(security, keys, KeyStore(state_dir, key) if state_dir is not None else None)


def draw_boot() -> bytes:
    """What no life of a node had before: random, and of this moment, for a copied machine may draw the same again."""
    moment = f"{time.time_ns()} {time.monotonic_ns()} {os.getpid()} ".encode()
    return hashlib.sha256(moment + os.urandom(32)).digest()[:BOOT_SIZE]


def shared_key(config: NodeConfig) -> bytes:
    """The key that all nodes share; empty with security switched off. Raises ConfigError."""
    return _key(config.security) if config.security.enabled else b""


def _key(settings: SecuritySettings) -> bytes:
    if settings.key:
        return settings.key
    path = Path(settings.key_file)
    try:
        if settings.key_created_if_missing and not path.exists():
            try:
                return write_key(path)
            except FileExistsError:
                pass  # somebody was faster; that is the key then
            except OSError as error:
                raise KeyFileError(path, f"no key can be made: {error.strerror}", "see the directory") from None
        return read_key(path)
    except KeyFileError as error:
        raise ConfigError([Fault("error", None, "totem.keyfile", f"{error.path}: {error.why}", error.mend)]) from None


_FOREIGN = (Reason.NO_CRYPTO, Reason.NO_ENVELOPE)
"""Reasons of which the datagram itself tells more."""


def _complain(complaint: Complaint, source: str, text: str) -> None:
    left_out = f" ({complaint.left_out} such lines were left out)" if complaint.left_out else ""
    _log.warning(
        "Received message has invalid digest... ignoring. It came from %s: %s.%s",
        source, text, left_out,
    )  # fmt: skip
