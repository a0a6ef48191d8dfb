"""Connects packet security to the sockets: brings in keys and randomness, and sends out challenges and log lines.

The rest is in services/totem/security, which does no I/O.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rondo.config import ConfigError, Fault, NodeConfig
from rondo.config.key import KeyFileError, read_key, write_key
from rondo.config.node import SecuritySettings
from rondo.node.logs import notice
from services.totem.key_changes import KeyChanges
from services.totem.keyring_file import Keys, KeyStore, stored_keys
from services.totem.security.complaints import Complaint
from services.totem.security.envelope import BOOT_SIZE, NONCE_SIZE
from services.totem.security.opener import TEXTS, Reason
from services.totem.security.packets import PacketSecurity
from services.totem.security.suites import SUITES
from services.totem.strangers import foreign_text, named
from services.totem.transport.base import Datagram, Transport

_log = logging.getLogger("TOTEM")


class Protection(KeyChanges):
    """Seals and opens for the link."""

    def __init__(self, security: PacketSecurity, keys: Keys, store: KeyStore | None = None) -> None:
        """`keys`: the keys for `security`. It already has the one in use, and gets the others here."""
        super().__init__(security, keys, store, security.suite.name)
        self.security = security
        self.seal = security.seal
        self.seal_for = security.seal_for
        self.seal_all = security.seal_all
        self.seal_to_keep = security.seal_to_keep
        self.on_refused: Callable[[str, str, int], None] = lambda _source, _why, _now_ns: None
        """Called for each log line about a refused packet: source, reason, time."""

    @property
    def overhead_bytes(self) -> int:
        """Bytes that sealing adds to a packet, at most."""
        return self.security.suite.overhead_bytes

    def open(self, datagrams: Sequence[Datagram], transport: Transport, now_ns: int) -> list[Datagram]:
        """Open datagrams. Returns their frames, and earlier ones whose challenge was answered now. Sends challenges and
        answers through `transport`."""
        opened: list[Datagram] = []
        security, at = self.security, 0
        if now_ns >= security.tend_due_ns:
            security.tend(now_ns)
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
        """This process may be a copy: seal no more packets under the present boot identifier."""
        self.security.begin_boot(draw_boot())
        notice(_log, "The clock or the hypervisor says that this node may be a copy of itself: it begins a new boot.")

    def counters(self) -> dict[str, int]:
        """Refused packets by reason, and outcomes of challenges: `security_wrong_key` and so on."""
        return {f"security_{name}": count for name, count in self.security.counters.items()}


def make_protection(config: NodeConfig, state_dir: Path | None = None) -> Protection | None:
    """The packet security of this configuration; None if it is off, or for knet. Raises ConfigError.

    `state_dir`: the directory for keys that are installed while the node runs.
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
        draw_secret if settings.forward_secrecy != "no" else None,
        secrecy_required=settings.forward_secrecy == "yes",
    )
    return Protection(security, keys, KeyStore(state_dir, key) if state_dir is not None else None)


def draw_boot() -> bytes:
    """A new boot identifier. The time is mixed in, because a copied machine may draw the same random bytes again."""
    return draw_secret()[:BOOT_SIZE]


def draw_secret() -> bytes:
    """32 random bytes, with the time mixed in."""
    moment = f"{time.time_ns()} {time.monotonic_ns()} {os.getpid()} ".encode()
    return hashlib.sha256(moment + os.urandom(32)).digest()


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
                pass  # another process was faster: its key counts
            except OSError as error:
                raise KeyFileError(path, f"no key can be made: {error.strerror}", "see the directory") from None
        return read_key(path)
    except KeyFileError as bad:
        raise ConfigError([Fault("error", None, "totem.keyfile", f"{bad.path}: {bad.why}", bad.mend)]) from None


_FOREIGN: Final = (Reason.NO_CRYPTO, Reason.NO_ENVELOPE)
"""For these reasons the datagram itself is examined for the log line."""


def _complain(complaint: Complaint, source: str, text: str) -> None:
    left_out = f" ({complaint.left_out} such lines were left out)" if complaint.left_out else ""
    _log.warning(
        "Received message has invalid digest... ignoring. It came from %s: %s.%s",
        source, text, left_out,
    )  # fmt: skip
