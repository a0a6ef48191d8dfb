"""The socket `cfg`: who this node is, where the nodes are, and whether they are reached.

Killing, shutting down and reloading are refused as not supported. So a program that tracks, to have its say before a
node shuts down, never hears of one: it is hung up when the node stops.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from rondo.config.node import NodeConfig
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.qb_gateway.connection import Connection
from services.qb_gateway.control_link import ControlLink
from services.qb_gateway.wire import cfg

MTU_BESIDES = 90
"""What Corosync takes off netmtu for its headers."""


class CfgService:
    """All programs that are connected to it."""

    name = "cfg"
    message_bytes_max = cfg.MESSAGE_BYTES_MAX

    def __init__(self, config: NodeConfig, control: ControlLink) -> None:
        self._node_id = config.node_id
        self.reconfigure(config)
        self._mtu = config.netmtu - MTU_BESIDES
        self._is_knet = config.transport == "knet"
        self._control = control
        self._programs: set[Connection] = set()

    def reconfigure(self, config: NodeConfig) -> None:
        """The nodelist may be another one from now on."""
        self._addresses = addresses_of(config)

    def opened(self, connection: Connection) -> None:
        """A program has connected."""
        self._programs.add(connection)

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        self._programs.discard(connection)

    def has_room(self, connection: Connection) -> bool:
        """Every request is answered at once."""
        return True

    def adjust_flow(self, connection: Connection) -> None:
        """Its calls all have answers, so they wait for them."""

    def written(self, connection: Connection) -> None:
        """It has no events."""

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """A request."""
        if ident == cfg.OWN_NODE:
            connection.reply(cfg.own_node_reply(self._node_id))
        elif ident == cfg.ADDRESSES:
            found = self._addresses.get(cfg.node_of(message) or self._node_id)
            connection.reply(cfg.addresses_reply(found) if found else cfg.refusal(ident, Code.NOT_EXIST))
        elif ident == cfg.NODE_STATUS and cfg.version_of(message) == cfg.STATUS_VERSION:
            self._tell_status(connection, cfg.node_of(message) or self._node_id)
        elif ident in (cfg.TRACK, cfg.UNTRACK):
            connection.reply(cfg.refusal(ident, Code.OK))
        else:
            connection.reply(cfg.refusal(ident, Code.NOT_SUPPORTED))

    def _tell_status(self, connection: Connection, node: int) -> None:
        def answer(code: int, nodes: Any) -> None:
            if connection not in self._programs:
                return
            if code != Code.OK:
                connection.reply(cfg.refusal(cfg.NODE_STATUS, code))
                return
            found = next((each for each in nodes if each["node"] == node), None)
            links = self._links(found) if found is not None else {}
            connection.reply(cfg.status_reply(node, found is not None and found["member"], links))

        self._control.ask(Op.NODES, {}, answer)

    def _links(self, found: dict[str, Any]) -> dict[int, cfg.Link]:
        """As Corosync has them: without knet one link, with the address of the node that is asked about."""
        if self._is_knet and found["links"]:
            return {
                link["link"]: cfg.Link(bool(link["up"]), int(link["mtu"] or 0), link["local"], link["remote"])
                for link in found["links"]
                if 0 <= link["link"] < cfg.LINKS_MAX
            }
        return {
            number: cfg.Link(found["member"], self._mtu, address, "")
            for number, address in enumerate(found["addresses"][: cfg.LINKS_MAX if self._is_knet else 1])
        }


def addresses_of(config: NodeConfig) -> dict[int, list[bytes]]:
    """The addresses of each configured node, packed, as far as they are written as addresses: those of one family, in
    the order of the links."""
    written: dict[int, list[str]] = {node: list(addresses) for node, addresses in config.members.items()}
    for node, links in config.knet.addresses.items():
        written[node] = [address for _, address in sorted(links.items())]
    found: dict[int, list[bytes]] = {}
    for node, addresses in written.items():
        packed = [each for address in addresses if (each := _packed(address))]
        found[node] = [each for each in packed if len(each) == len(packed[0])]
    return found


def _packed(address: str) -> bytes:
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return b""
