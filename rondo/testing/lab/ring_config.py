"""The configuration that all nodes of a ring share, written as a `corosync.conf` for C nodes and Rondo nodes alike."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from rondo.testing.lab.netns import Lab

Transport = Literal["udp", "udpu", "knet"]
# Corosync's defaults (3000 ms, and 650 ms more for each member after the second) make every test that waits for the
# loss of a node three times as long.
TOKEN_TIMEOUT_MS = 1000
TOKEN_COEFFICIENT_MS = 0
PATIENT: Mapping[str, str | int] = MappingProxyType({"token": 5000, "token_retransmits_before_loss_const": 20})
"""Options of the totem section for tests in which no node is lost, or only one that leaves with a word.

A busy machine may hold a process for longer than the usual token time-out. Nobody is to be given up for that. A token
that was lost is sent again as soon as with the usual time-out.
"""


def section(name: str, body: str) -> str:
    """Return a section of a corosync.conf."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{name} {{\n{indented}}}\n"


def options(values: Mapping[str, str | int]) -> str:
    """Return lines of `key: value`."""
    return "".join(f"{key}: {value}\n" for key, value in values.items())


@dataclass(frozen=True)
class RingConfig:
    """What the members of one ring agree on. `addresses` maps node identifiers to addresses.

    `totem` holds further options of the totem section, such as `mcastaddr`, or others than the usual ones of the tests;
    `quorum` those of the quorum section, besides the provider. None: there is no quorum. `named`: node N is called nN.
    """

    transport: Transport
    addresses: Mapping[int, str]
    cluster_name: str = "lab"
    totem: Mapping[str, str | int] = field(default_factory=dict)
    quorum: Mapping[str, str | int] | None = None
    named: bool = False

    @classmethod
    def of_lab(
        cls,
        lab: Lab,
        transport: Transport,
        *,
        ipv6: bool = False,
        totem: Mapping[str, str | int] | None = None,
        quorum: Mapping[str, str | int] | None = None,
        named: bool = False,
    ) -> Self:
        """Return the configuration of a ring of all hosts of a lab; node N is on host N."""
        addresses = {number: host.address6 if ipv6 else host.address for number, host in lab.hosts.items()}
        family = {"ip_version": "ipv6"} if ipv6 else {}
        return cls(transport, addresses, totem={**family, **(totem or {})}, quorum=quorum, named=named)

    def text(self, **sections: Mapping[str, str | int]) -> str:
        """Return the text of a corosync.conf; `sections` are added, as what differs between nodes: logging, system."""
        totem: dict[str, str | int] = {
            "version": 2,
            "cluster_name": self.cluster_name,
            "transport": self.transport,
            "secauth": "off",
            "token": TOKEN_TIMEOUT_MS,
            "token_coefficient": TOKEN_COEFFICIENT_MS,
            **self.totem,
        }
        nodes = "".join(
            section("node", options({"nodeid": nodeid, "ring0_addr": address, **self._name(nodeid)}))
            for nodeid, address in self.addresses.items()
        )
        if self.quorum is not None:
            sections = {"quorum": {"provider": "corosync_votequorum", **self.quorum}, **sections}
        further = [section(name, options(values)) for name, values in sections.items()]
        return "".join([section("totem", options(totem)), section("nodelist", nodes), *further])

    def _name(self, nodeid: int) -> dict[str, str]:
        return {"name": f"n{nodeid}"} if self.named else {}


@dataclass(frozen=True)
class KnetConfig:
    """Rings over two links, encrypted as `pcs cluster setup` has it; `quorum` as in `RingConfig`.

    `link` holds options of the interface sections, such as `knet_ping_timeout`, the same for both links.
    """

    lab: Lab
    key_file: str
    totem: Mapping[str, str | int] = field(default_factory=dict)
    ipv6: bool = False
    quorum: Mapping[str, str | int] | None = None
    link: Mapping[str, str | int] = field(default_factory=dict)

    @classmethod
    def of_lab(
        cls,
        lab: Lab,
        directory: Path,
        *,
        ipv6: bool = False,
        totem: Mapping[str, str | int] = MappingProxyType({}),
        quorum: Mapping[str, str | int] | None = None,
        link: Mapping[str, str | int] = MappingProxyType({}),
    ) -> Self:
        """For all hosts of a lab, which get a second link if they have none yet, with a new key."""
        if len(lab.links) == 1:
            lab.add_second_link()
        key_file = directory / "authkey"
        key_file.write_bytes(os.urandom(256))
        key_file.chmod(0o400)
        return cls(lab, str(key_file), totem, ipv6, quorum, link)

    def text(self, **sections: Mapping[str, str | int]) -> str:
        """Return the text of a corosync.conf."""
        totem: dict[str, str | int] = {
            "version": 2,
            "cluster_name": "lab",
            "transport": "knet",
            "crypto_cipher": "aes256",
            "crypto_hash": "sha256",
            "keyfile": self.key_file,
            "token": TOKEN_TIMEOUT_MS,
            "token_coefficient": TOKEN_COEFFICIENT_MS,
            **self.totem,
        }
        nodes = ""
        for number, host in self.lab.hosts.items():
            links = {f"ring{link}_addr": host.address_of_link(link, ipv6=self.ipv6) for link in (0, 1)}
            nodes += section("node", options({"nodeid": number, "name": f"n{number}", **links}))
        if self.quorum is not None:
            sections = {"quorum": {"provider": "corosync_votequorum", **self.quorum}, **sections}
        further = [section(name, options(values)) for name, values in sections.items()]
        interfaces = ""
        if self.link:
            interfaces = "".join(section("interface", options({"linknumber": each, **self.link})) for each in (0, 1))
        return "".join([section("totem", options(totem) + interfaces), section("nodelist", nodes), *further])


AnyConfig = RingConfig | KnetConfig
