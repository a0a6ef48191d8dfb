"""The socket `cfg`: this node's identifier, the nodes' addresses and reachability, and operations on nodes.

A program that tracks votes on each shutdown of the node. The gateway draws a name for it, by which control knows it.
"""

from __future__ import annotations

import ipaddress
import secrets
from typing import Any

from rondo.config.node import NodeConfig
from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.qb_gateway.calls import Calls
from services.qb_gateway.connection import WAITING_BYTES_MAX, Connection
from services.qb_gateway.wire import cfg

MTU_BESIDES = 90
"""What Corosync subtracts from netmtu for its headers."""

_ASKED = {
    cfg.KILL: Op.KILL,
    cfg.SHUTDOWN: Op.SHUTDOWN,
    cfg.SHUTDOWN_VOTE: Op.VOTE_ON_SHUTDOWN,
    cfg.RELOAD: Op.RELOAD,
    cfg.REOPEN_LOGS: Op.REOPEN_LOGS,
}
"""Requests that control answers."""


class CfgService(Calls):
    """All programs that are connected to the socket."""

    name = "cfg"
    message_bytes_max = cfg.MESSAGE_BYTES_MAX
    waiting_bytes_max = WAITING_BYTES_MAX

    def __init__(self, config: NodeConfig, control: ControlLink) -> None:
        self._node_id = config.node_id
        self.reconfigure(config)
        self._mtu = config.netmtu - MTU_BESIDES
        self._is_knet = config.transport == "knet"
        self._control = control
        self._programs: dict[Connection, str] = {}
        """By connection: the program's name toward control."""
        self._tracking: dict[str, object] = {}
        """By the name of a program that tracks shutdowns: a mark of its present tracking. A program may end that and
        begin another while control has not answered yet; that answer is none for the new one."""

    def reconfigure(self, config: NodeConfig) -> None:
        """The nodelist may have changed."""
        self._addresses = addresses_of(config)
        self._own_links = config.knet.addresses.get(config.node_id) or {0: config.local_address}

    def opened(self, connection: Connection) -> None:
        """A program has connected."""
        self._programs[connection] = secrets.token_hex(16)

    def closed(self, connection: Connection) -> None:
        """A program is gone."""
        name = self._programs.pop(connection)
        self._tracking.pop(name, None)
        self._control.forget(name.encode())

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """A request."""
        if ident == cfg.OWN_NODE:
            connection.reply(cfg.own_node_reply(self._node_id))
        elif ident == cfg.RINGS:
            self._tell_rings(connection)
        elif ident == cfg.ADDRESSES:
            found = self._addresses.get(cfg.node_of(message) or self._node_id)
            connection.reply(cfg.addresses_reply(found) if found else cfg.refusal(ident, Code.NOT_EXIST))
        elif ident == cfg.NODE_STATUS and cfg.version_of(message) == cfg.STATUS_VERSION:
            self._tell_status(connection, cfg.node_of(message) or self._node_id)
        elif ident in (cfg.TRACK, cfg.UNTRACK):
            self._track(connection, is_tracking=ident == cfg.TRACK)
        elif ident in _ASKED:
            self._hand_on(connection, ident, message)
        else:
            connection.refuse(cfg.refusal(ident, Code.NOT_SUPPORTED))

    def _hand_on(self, connection: Connection, ident: int, message: bytes) -> None:
        """Forward a request to control."""
        name, number = self._programs[connection], cfg.node_of(message) or 0
        arguments: dict[int, dict[str, Any]] = {
            cfg.KILL: {"node": number, "reason": cfg.reason_of(message)},
            cfg.SHUTDOWN: {"flags": number, "tracker": name},
            cfg.SHUTDOWN_VOTE: {"agrees": number == 1, "tracker": name},
        }

        def answer(code: int, result: Any) -> None:
            if code == Code.OK and ident == cfg.RELOAD and result["faults"]:
                code = Code.FAILED_OPERATION
            if connection in self._programs:
                connection.reply(cfg.refusal(ident, code))

        self._control.ask(_ASKED[ident], arguments.get(ident, {}), answer, name.encode())

    def _track(self, connection: Connection, *, is_tracking: bool) -> None:
        name = self._programs[connection]
        if is_tracking and name not in self._tracking:
            self._tracking[name] = mark = object()
            self._wait_for_shutdown(connection, name, 0, mark)
        elif not is_tracking and name in self._tracking:
            del self._tracking[name]
            self._control.ask(Op.UNTRACK_SHUTDOWN, {"tracker": name}, lambda _code, _result: None, name.encode())
        connection.reply(cfg.refusal(cfg.TRACK if is_tracking else cfg.UNTRACK, Code.OK))

    def _wait_for_shutdown(self, connection: Connection, name: str, after: int, mark: object) -> None:
        def answer(code: int, news: Any) -> None:
            if self._tracking.get(name) is not mark:
                return
            number = news["number"] if code == Code.OK else after
            self._wait_for_shutdown(connection, name, number, mark)
            if code == Code.OK and news["event"] == "asked":
                connection.post([cfg.shutdown_event(news["flags"], Code.OK)])
            elif code == Code.OK and news["event"] == "timeout":
                connection.post([cfg.shutdown_event(0, Code.TIMEOUT)])

        self._control.ask(Op.TRACK_SHUTDOWN, {"tracker": name, "after": after}, answer, name.encode())

    def _tell_rings(self, connection: Connection) -> None:
        def answer(code: int, nodes: Any) -> None:
            if connection in self._programs:
                is_known = code == Code.OK
                connection.reply(cfg.rings_reply(self._rings(nodes)) if is_known else cfg.refusal(cfg.RINGS, code))

        self._control.ask(Op.NODES, {}, answer, self._programs[connection].encode())

    def _rings(self, nodes: list[dict[str, Any]]) -> list[tuple[str, str]]:
        """Each link by its number and address, and what it is to every node: n this one, 1 down, 3 up. Without knet
        there is one, which is well."""
        up = {(node["node"], link["link"]) for node in nodes for link in node["links"] if link["up"]}
        digits = {
            link: "".join(
                "n" if node["node"] == self._node_id else "3" if (node["node"], link) in up else "1" for node in nodes
            )
            for link in self._own_links
        }
        return [
            (f"{link} {address}", digits[link] if self._is_knet else "OK")
            for link, address in sorted(self._own_links.items())
        ]

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

        self._control.ask(Op.NODES, {}, answer, self._programs[connection].encode())

    def _links(self, found: dict[str, Any]) -> dict[int, cfg.Link]:
        """The links as Corosync shows them. Without knet there is one link, with the address of the queried node."""
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
    """The packed addresses of each configured node, without host names: those of one family, in the order of the
    links."""
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
