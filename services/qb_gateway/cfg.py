"""The socket `cfg`: what the gateway knows by itself, which is who this node is and where the nodes are.

Killing, shutting down, reloading and tracking are the control plane's; they are refused as not supported.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from rondo.config.node import NodeConfig
from rondo.protocol.codes import Code
from services.qb_gateway.connection import Connection
from services.qb_gateway.wire import cfg


class CfgService:
    """All programs that are connected to it."""

    name = "cfg"
    message_bytes_max = cfg.MESSAGE_BYTES_MAX

    def __init__(self, node_id: int, addresses: Mapping[int, list[bytes]]) -> None:
        self._node_id = node_id
        self._addresses = addresses

    def opened(self, connection: Connection) -> None:
        """Nothing is kept of it."""

    def closed(self, connection: Connection) -> None:
        """Nothing was."""

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
        else:
            connection.reply(cfg.refusal(ident, Code.NOT_SUPPORTED))


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
