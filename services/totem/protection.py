"""Packet security at the sockets: the key and the randomness come in here, log lines and challenges go out.

Everything else about it is in services/totem/security, which does no I/O.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rondo.config import ConfigError, Fault, NodeConfig
from rondo.config.key import KeyFileError, fingerprint, read_key, write_key
from rondo.config.node import SecuritySettings
from services.totem.security.complaints import Complaint
from services.totem.security.envelope import BOOT_SIZE, NONCE_SIZE
from services.totem.security.opener import TEXTS, Reason
from services.totem.security.packets import PacketSecurity
from services.totem.security.suites import SUITES
from services.totem.transport.base import Datagram, Transport

_log = logging.getLogger("TOTEM")


class Protection:
    """Seals and opens for the link."""

    def __init__(self, security: PacketSecurity, key_fingerprint: str) -> None:
        self.security = security
        self.key_fingerprint = key_fingerprint
        self.seal = security.seal
        self.seal_all = security.seal_all

    @property
    def overhead_bytes(self) -> int:
        """By how much a sealed packet is longer at most."""
        return self.security.suite.overhead_bytes

    def open(self, datagrams: Iterable[Datagram], transport: Transport, now_ns: int) -> list[Datagram]:
        """The frames in the datagrams, and those that waited; challenges and answers leave through `transport`."""
        opened: list[Datagram] = []
        open_one, security = self.security.open, self.security
        for datagram, source in datagrams:
            frame = open_one(datagram, source[0], now_ns)
            if frame is not None:
                opened.append((frame, source))
                continue
            for reply in security.take_replies():
                transport.reply(reply.node, reply.source, reply.datagram)
            opened += [(waited, (address,)) for waited, address in security.take_released()]
            for complaint in security.take_complaints():
                _complain(complaint)
        return opened

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
        }

    def counters(self) -> dict[str, int]:
        """Refused packets by reason, and what became of challenges: `security_wrong_key` and so on."""
        return {f"security_{name}": count for name, count in self.security.counters.items()}


def make_protection(config: NodeConfig) -> Protection | None:
    """What the configuration asks for; None with security switched off. Raises ConfigError."""
    settings = config.security
    if not settings.enabled:
        return None
    suite = SUITES.get((settings.cipher, settings.hash))
    if suite is None:
        why = f"{settings.cipher} and crypto_hash {settings.hash} do not go together"
        raise ConfigError([Fault("error", None, "totem.crypto_cipher", why, "write crypto_cipher: aes256-gcm")])
    key = _key(settings)
    members = frozenset(config.members) or None
    security = PacketSecurity(
        suite, key, config.cluster_name, config.node_id, members, os.urandom(BOOT_SIZE), lambda: os.urandom(NONCE_SIZE)
    )
    return Protection(security, fingerprint(key))


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


def _complain(complaint: Complaint) -> None:
    left_out = f" ({complaint.left_out} such lines were left out)" if complaint.left_out else ""
    _log.warning(
        "Received message has invalid digest... ignoring. It came from %s: %s.%s",
        complaint.source, TEXTS[Reason(complaint.reason)], left_out,
    )  # fmt: skip
