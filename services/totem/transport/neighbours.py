"""Exchanges notices with the other Rondo nodes, outside the ring: probes of the path, and key notices.

Notices (services/totem/wire/notices.py) travel like all frames, sealed if packets are. They are taken out before the
ring sees them.
"""

from __future__ import annotations

import logging
from collections import Counter

from services.totem.protection import Protection
from services.totem.security.keybook import KeyBook
from services.totem.transport.base import Transport
from services.totem.transport.pathcheck import EVERYBODY, PROBE_BYTES, Finding, Path, PathCheck
from services.totem.wire.base import Malformed
from services.totem.wire.notices import KeyNotice, Probe, decode_notice, encode_keys, encode_probe

_log = logging.getLogger("TOTEM")


class Neighbours:
    """Sends and handles notices. `netmtu`: bytes of a full datagram."""

    def __init__(
        self, node_id: int, netmtu: int, protection: Protection | None, counters: Counter[str], *, multicast: bool
    ) -> None:
        self.paths = PathCheck(netmtu, multicast=multicast)
        self.keys = protection.keys_of_others if protection is not None else KeyBook()
        self._node_id = node_id
        self._protection = protection
        self._overhead = protection.overhead_bytes if protection is not None else 0
        self._counters = counters

    @property
    def due_ns(self) -> int:
        """When `advance` is to be called."""
        return min(self.paths.due_ns, self.keys.due_ns)

    def take(self, frame: bytes, source: str, transport: Transport, now_ns: int) -> None:
        """A notice came from the IP address `source`."""
        try:
            notice = decode_notice(frame)
        except Malformed as error:
            self._counters[f"rx_notice_{error.reason}"] += 1
            return
        if isinstance(notice, KeyNotice):
            if self._protection is not None:
                self.keys.heard(notice.sender, notice.valid, notice.in_use, now_ns)
        elif notice is None or notice.sender == self._node_id:
            return
        elif notice.echo:
            self.paths.echoed(notice, now_ns)
            self._say_findings()
        elif self.paths.may_echo(now_ns):
            echo = Probe(self._node_id, notice.number, notice.size, notice.multicast, echo=True)
            transport.reply(notice.sender, source, self._sealed(notice.sender, encode_probe(echo)))

    def advance(self, transport: Transport, now_ns: int) -> None:
        """Send what is due."""
        if self.keys.due_ns <= now_ns and self._protection is not None:
            transport.multicast([self._sealed(EVERYBODY, encode_keys(self._protection.key_notice(self._node_id)))])
            self.keys.said(now_ns, again=self._protection.has_several_keys)
        if self.paths.due_ns > now_ns:
            return
        self.paths.set_peers(transport.peers(), now_ns)
        self.paths.advance(now_ns)
        questions, self.paths.questions = self.paths.questions, []
        for node, number, size in questions:
            probe = Probe(self._node_id, number, size, node == EVERYBODY)
            datagram = self._sealed(node, encode_probe(probe, size - self._overhead))
            if node == EVERYBODY:
                transport.multicast([datagram])
            else:
                transport.unicast(node, datagram)
        self._say_findings()

    def _sealed(self, node: int, frame: bytes) -> bytes:
        if self._protection is None:
            return frame
        return self._protection.seal(frame) if node == EVERYBODY else self._protection.seal_for(node, frame)

    def _say_findings(self) -> None:
        findings, self.paths.findings = self.paths.findings, []
        for finding in findings:
            level = logging.INFO if finding.path is Path.GOOD else logging.WARNING
            _log.log(level, "%s", _text(finding, self.paths.size_max))


def _text(finding: Finding, size_max: int) -> str:
    node = finding.node
    if finding.path is Path.GOOD:
        return f"Packets of full size ({size_max} bytes) reach node {node} again."
    if finding.path is Path.NO_MULTICAST:
        return (
            f"Multicast packets to node {node} are lost, while unicast packets reach it. Switches may miss an IGMP "
            "querier, or a firewall stops them; mend that, or set totem.transport: udpu on all nodes."
        )
    passes = max(finding.passes, PROBE_BYTES)
    return (
        f"Packets > {passes} bytes to node {node} are lost; full ones have {size_max}. Mend the path (MTU, tunnel, "
        f"firewall that drops fragments), or set totem.netmtu: {passes} on all nodes."
    )
