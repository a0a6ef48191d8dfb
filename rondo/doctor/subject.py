"""What the checks examine: the configuration, this machine, and the node if one runs."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rondo.config import ConfigError, Fault, NodeConfig
from rondo.config.loaded import Loaded
from rondo.config.local_node import NotThisMachineError
from rondo.config.machine import Machine, ThisMachine
from rondo.config.node import NodeConfigError
from rondo.config.reader import load
from rondo.config.resolver import resolve, resolve_as_first_node
from rondo.ipc.surveyor import Answers
from rondo.node.supervision import RESOLVED_CONFIGURATION, survey

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(slots=True)
class Subject:
    """A node, running or not, on a machine."""

    run_dir: Path
    machine: Machine
    loaded: Loaded | None = None
    """The configuration file; None if it cannot be used."""
    config: NodeConfig | None = None
    """The configuration that the node runs with, or would run with here."""
    is_ours: bool = True
    """True if this machine is one of the nodes; otherwise `config` is that of the first node."""
    config_faults: tuple[Fault, ...] = ()
    answers: Answers = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    _resolved: dict[str, tuple[Ip, ...]] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """True if any process of a node runs here."""
        return self.status.get("state") != "stopped"

    @property
    def totem(self) -> dict[str, Any] | None:
        """The status of the ring process."""
        return self.answers.get("totem")

    def addresses_of(self, node: int) -> dict[int, str]:
        """The addresses of a node as written, by link."""
        if self.config is None:
            return {}
        if self.config.knet.addresses:
            return self.config.knet.addresses.get(node, {})
        return dict(enumerate(self.config.members.get(node, ())))

    @property
    def own(self) -> dict[int, str]:
        """This node's addresses as written, by link."""
        config = self.config
        if config is None or not self.is_ours:
            return {}
        return self.addresses_of(config.node_id) or {0: config.local_address}

    @property
    def others(self) -> dict[int, dict[int, str]]:
        """The addresses of the other nodes as written, by node and link."""
        if self.config is None:
            return {}
        own = self.config.node_id if self.is_ours else None
        return {node: self.addresses_of(node) for node in self.config.members if node != own}

    def port_of(self, link: int) -> int:
        """The UDP port of a link."""
        assert self.config is not None
        links = self.config.knet.links
        return links[link].port if link in links else self.config.mcastport

    def ips(self, address: str) -> tuple[Ip, ...]:
        """The IP addresses for an address as written: itself, or those of the name. A name is resolved once."""
        if address not in self._resolved:
            try:
                self._resolved[address] = (ipaddress.ip_address(address),)
            except ValueError:
                found = self.machine.lookup(address)
                self._resolved[address] = tuple(ipaddress.ip_address(each) for each in found)
        return self._resolved[address]

    def ip_of(self, address: str) -> Ip | None:
        """The IP address that the node would use of these; None if the name is unknown."""
        found = self.ips(address)
        first = 6 if self.config is not None and self.config.ip_version in ("ipv6", "ipv6-4") else 4
        return next((each for each in found if each.version == first), found[0] if found else None)

    def is_loopback_cluster(self) -> bool:
        """True if all nodes are on this machine, as in the demo."""
        found = [ip for links in self.others.values() for text in links.values() if (ip := self.ip_of(text))]
        return bool(found) and all(ip.is_loopback for ip in found)


def subject_of(
    run_dir: Path, config_file: str | None = None, node_id: int | None = None, machine: Machine | None = None
) -> Subject:
    """Read the configuration and ask the processes. Without `config_file` a running node's configuration is used."""
    subject = Subject(run_dir, machine or ThisMachine())
    subject.answers = survey.ask_all(run_dir)
    running = _running_config(run_dir)
    subject.status = survey.status_of(run_dir, subject.answers, running)
    used = running if subject.is_running and config_file is None else None
    try:
        if used is not None and node_id is None:
            node_id = used.node_id  # it may have been started with --nodeid
        subject.loaded = load(config_file or (used.config_file or None if used else None), node_id=node_id)
        if used is not None:
            subject.config = used
        else:
            subject.config = resolve(subject.loaded, subject.machine)
    except NotThisMachineError as error:
        subject.config_faults = error.faults
        if subject.loaded is not None:
            subject.config, subject.is_ours = resolve_as_first_node(subject.loaded, subject.machine), False
    except ConfigError as error:
        subject.config_faults = error.faults
        subject.config = used
    return subject


def _running_config(run_dir: Path) -> NodeConfig | None:
    try:
        return NodeConfig.read(run_dir / RESOLVED_CONFIGURATION)
    except NodeConfigError:
        return None


def family_of(ip: Ip) -> socket.AddressFamily:
    """The address family of a socket for it."""
    return socket.AF_INET6 if ip.version == 6 else socket.AF_INET
