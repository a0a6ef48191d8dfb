"""Checks that this machine's firewall lets packets of the ring in from each node, and out to each."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rondo.doctor.finding import Finding, fault, ok, warn
from rondo.doctor.legacy import as_nft
from rondo.doctor.ruleset import Packet, judge
from rondo.doctor.subject import Ip, Subject

_PATHS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_OLDER = (("iptables", "ip"), ("ip6tables", "ip6"))
_ANSWER_S = 10.0
_NODES_MAX = 64
_MEND_OLDER = "let UDP port {port} pass {way} for all nodes; iptables-legacy -S shows the rules"
_MEND = "let UDP port {port} pass {way} for all nodes, for example: nft insert rule {by} udp dport {port} accept"


def firewall(subject: Subject) -> Iterator[Finding]:
    """Check both directions by the rules of nftables, which include those of iptables-nft, firewalld and ufw, and by
    those of the older iptables."""
    if not subject.own or not subject.others:
        return
    ruleset, why = _ruleset()
    if older := [item for tool, family in _OLDER for item in _older(tool, family)]:
        ruleset = {"nftables": [*(ruleset or {}).get("nftables", ()), *older]}
    if ruleset is None:
        yield ok("firewall", f"the rules of this machine were not looked at: {why}")
        return
    told: set[tuple[str, str]] = set()
    for link, other, port, own in _ways(subject):
        group = _group(subject, own)
        for is_incoming, is_multicast in itertools.product((True, False), (False, True) if group else (False,)):
            source, destination = (other, own) if is_incoming else (own, other)
            if is_multicast and group is not None:
                destination = group
            packet = Packet(source, destination, port, _interface(subject, own, link), is_incoming)
            finding = _one(ruleset, packet, other)
            if finding is not None and (finding.what, finding.where) not in told:
                told.add((finding.what, finding.where))
                yield finding
    if not told:
        yield ok("firewall", "the rules of this machine let the ring's packets in and out")


def _ways(subject: Subject) -> Iterator[tuple[int, Ip, int, Ip]]:
    """Link, the other node's address, port, own address."""
    for links in list(subject.others.values())[:_NODES_MAX]:
        for link, text in links.items():
            other, own = subject.ip_of(text), subject.ip_of(subject.own.get(link, ""))
            if other is not None and own is not None and other.version == own.version:
                yield link, other, subject.port_of(link), own


def _group(subject: Subject, own: Ip) -> Ip | None:
    """The multicast address of a ring with transport: udp; None: the ring has none."""
    config = subject.config
    if config is None or config.transport != "udp" or config.broadcast:
        return None
    group = ipaddress.ip_address(config.mcastaddr)
    return group if group.version == own.version else None


def _interface(subject: Subject, own: Ip, link: int) -> str:
    if own.is_loopback:
        return "lo"
    return next((each.name for each in subject.machine.interface_addresses() if each.address == own), f"link {link}")


def _one(ruleset: dict[str, Any], packet: Packet, other: Ip) -> Finding | None:
    verdict = judge(ruleset, packet)
    if verdict.passes:
        return None
    port, way = packet.destination_port, "in" if packet.is_incoming else "out"
    make = fault if verdict.certain else warn
    sure = "drops" if verdict.certain else "may drop"
    if packet.destination.is_multicast:
        whose = f"multicast packets from {other}" if packet.is_incoming else "multicast packets"
    else:
        whose = f"packets {'from' if packet.is_incoming else 'to'} {other}"
    mend = _MEND_OLDER if "iptables-legacy" in verdict.by else _MEND
    what = f"the firewall of this machine {sure} the ring's {whose} (UDP {port}, on the way {way})"
    return make("firewall", what, f"chain {verdict.by}", mend.format(port=port, way=way, by=verdict.by))


def _older(tool_name: str, family: str) -> list[dict[str, Any]]:
    """The rules of iptables-legacy, if the kernel has any. To ask for them where there are none would load modules."""
    tool = shutil.which(f"{tool_name}-legacy-save", path=_PATHS) or shutil.which(f"{tool_name}-save", path=_PATHS)
    try:
        if tool is None or not Path(f"/proc/net/{family}_tables_names").read_text():
            return []
        done = subprocess.run([tool], capture_output=True, timeout=_ANSWER_S)
        return as_nft(done.stdout.decode(errors="replace"), family)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []


def _ruleset() -> tuple[dict[str, Any] | None, str]:
    """The rules, or why they are not known."""
    tool = shutil.which("nft", path=_PATHS)
    if tool is None:
        return None, "the program nft is not installed"
    try:
        done = subprocess.run([tool, "--json", "list", "ruleset"], capture_output=True, timeout=_ANSWER_S)
        found = json.loads(done.stdout or b"{}")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    if done.returncode != 0 or not isinstance(found, dict):
        return None, "only root may see them" if os.geteuid() else done.stderr.decode(errors="replace").strip()
    return found, ""
