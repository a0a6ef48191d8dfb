"""The sockets `quorum` and `votequorum`: control's answers and events in the layouts of libquorum and libvotequorum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.qb_gateway.calls import Calls
from services.qb_gateway.connection import WAITING_BYTES_MAX, Connection
from services.qb_gateway.wire import quorum
from services.qb_gateway.wire.messages import RequestError

STATES = {"member": 1, "dead": 2, "leaving": 3}
FLAGS = {
    "two_node": 1, "quorate": 2, "wait_for_all": 4, "last_man_standing": 8, "auto_tie_breaker": 16,
    "allow_downscale": 32, "qdevice_registered": 64, "qdevice_alive": 128, "qdevice_cast_vote": 256,
    "qdevice_master_wins": 512,
}  # fmt: skip
Ask = tuple[Op, dict[str, Any]]


@dataclass(slots=True)
class _Program:
    connection: Connection
    model: int = 0
    is_tracking: bool = False
    context: int = 0


class _Service(Calls, ABC):
    """Common to both sockets."""

    message_bytes_max = quorum.MESSAGE_BYTES_MAX
    waiting_bytes_max = WAITING_BYTES_MAX

    def __init__(self, control: ControlLink) -> None:
        self._control = control
        self._programs: dict[Connection, _Program] = {}
        control.watch("quorum", self._on_events)

    def opened(self, connection: Connection) -> None:
        """A program has connected."""
        connection.state = self._programs[connection] = _Program(connection)

    def closed(self, connection: Connection) -> None:
        """A program is gone."""
        del self._programs[connection]
        self._control.forget(connection.whose)

    def _ask(self, program: _Program, ask: Ask, answer: Callable[[int, Any], None]) -> None:
        """Ask control. No answer is sent if the connection has ended meanwhile."""

        def answer_if_there(code: int, result: Any) -> None:
            if self._programs.get(program.connection) is program:
                answer(code, result)

        self._control.ask(*ask, answer_if_there, program.connection.whose)

    def _on_events(self, events: list[dict[str, Any]], _is_lost: bool) -> None:
        for program in self._programs.values():
            if program.is_tracking:
                told = [message for event in events for message in self.shape(program, event)]
                if told:
                    program.connection.post(told)

    @abstractmethod
    def shape(self, program: _Program, event: dict[str, Any]) -> list[bytes]:
        """control's event in the form for a program that tracks; empty if the program is not told of it."""

    @abstractmethod
    def present(self, program: _Program, found: dict[str, Any], members: list[int]) -> list[bytes]:
        """The state that a program is told first when it begins to track."""

    def track(self, program: _Program, flags: int, refusal: Callable[[int], bytes]) -> None:
        """Begin to track. The present state is sent before the call returns."""

        def with_nodes(nodes_code: int, nodes: Any) -> None:
            def with_quorum(code: int, found: Any) -> None:
                is_known = code == nodes_code == Code.OK
                if is_known and flags & (quorum.NOW | quorum.CHANGES):
                    members = [node["node"] for node in nodes if node["member"]]
                    program.connection.deliver(self.present(program, found, members))
                result = Code.EXIST if program.is_tracking else Code.OK
                program.is_tracking = program.is_tracking or bool(flags & (quorum.CHANGES | quorum.CHANGES_ONLY))
                program.connection.reply(refusal(result if is_known else max(code, nodes_code)))

            self._ask(program, (Op.QUORUM, {}), with_quorum)

        self._ask(program, (Op.NODES, {}), with_nodes)


class QuorumService(_Service):
    """The socket `quorum`."""

    name = "quorum"

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """A request."""
        program: _Program = connection.state
        if ident not in quorum.SIZES_MIN or len(message) < quorum.SIZES_MIN[ident]:
            connection.refuse(quorum.refusal(ident, Code.INVALID_PARAM))
        elif ident == quorum.TRACK:
            self.track(program, quorum.word(message, 16), lambda code: quorum.refusal(quorum.TRACK, code))
        elif ident == quorum.UNTRACK:
            program.is_tracking = False
            connection.reply(quorum.refusal(ident, Code.OK))
        elif ident == quorum.INITIALIZE_MODEL and quorum.word(message, 16) > quorum.MODEL_MAX:
            connection.reply(quorum.refusal(ident, Code.INVALID_PARAM))
        else:
            if ident == quorum.INITIALIZE_MODEL:
                program.model = quorum.word(message, 16)
            self._tell(program, ident)

    def _tell(self, program: _Program, ident: int) -> None:
        def answer(code: int, found: Any) -> None:
            if code != Code.OK:
                reply = quorum.refusal(ident, code)
            elif ident == quorum.QUORATE:
                reply = quorum.word_reply(ident, int(found["quorate"]))
            else:
                reply = quorum.word_reply(ident, int(found["provider"] is not None))
            program.connection.reply(reply)

        self._ask(program, (Op.QUORUM, {}), answer)

    def shape(self, program: _Program, event: dict[str, Any]) -> list[bytes]:
        """Quorum for both models, the list of nodes for model 1."""
        if event["event"] == "quorum":
            return [quorum.quorum_event(program.model, event["quorate"], _ring(event), event["members"])]
        if event["event"] == "nodelist" and program.model == 1:
            return [quorum.nodelist_event(_ring(event), event["members"], event["joined"], event["left"])]
        return []

    def present(self, program: _Program, found: dict[str, Any], members: list[int]) -> list[bytes]:
        """Quorum, and for model 1 the list of nodes."""
        ring = _ring(found)
        first = [quorum.nodelist_event(ring, members, [], [])] if program.model == 1 else []
        return [*first, quorum.quorum_event(program.model, found["quorate"], ring, members)]


class VotequorumService(_Service):
    """The socket `votequorum`. There is no quorum device."""

    name = "votequorum"

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """A request."""
        program: _Program = connection.state
        if ident in quorum.VOTES_SIZES_MIN and len(message) < quorum.VOTES_SIZES_MIN[ident]:
            connection.refuse(quorum.votes_refusal(ident, Code.INVALID_PARAM))
        elif ident == quorum.INFORMATION:
            self._inform(program, quorum.word(message, 16))
        elif ident == quorum.SET_EXPECTED:
            self._set(program, ident, (Op.SET_EXPECTED, {"votes": quorum.word(message, 16)}))
        elif ident == quorum.SET_VOTES:
            arguments = {"votes": quorum.word(message, 16), "node": quorum.word(message, 20)}
            self._set(program, ident, (Op.SET_VOTES, arguments))
        elif ident == quorum.VOTES_TRACK:
            program.context = quorum.context_of(message)
            self.track(program, quorum.word(message, 24), lambda code: quorum.votes_refusal(ident, code))
        elif ident == quorum.VOTES_UNTRACK:
            code = Code.OK if program.is_tracking else Code.NOT_EXIST
            program.is_tracking = False
            connection.reply(quorum.votes_refusal(ident, code))
        else:
            # Corosync's answers if the configuration has no quorum device.
            code = Code.ACCESS if ident in (5, 8, 9) else Code.NOT_EXIST
            connection.reply(quorum.votes_refusal(ident, code))

    def _set(self, program: _Program, ident: int, ask: Ask) -> None:
        def answer(code: int, _: Any) -> None:
            # An unknown node, as Corosync has it here and nowhere else.
            code = Code.NAME_NOT_FOUND if code == Code.NOT_EXIST else code
            program.connection.reply(quorum.votes_refusal(ident, code))

        self._ask(program, ask, answer)

    def _inform(self, program: _Program, node: int) -> None:
        def answer(code: int, found: Any) -> None:
            try:
                if code != Code.OK:
                    raise RequestError(code, "control refuses")
                reply = quorum.information_reply(_information(found, node))
            except RequestError as error:
                reply = quorum.votes_refusal(quorum.INFORMATION, error.code)
            program.connection.reply(reply)

        self._ask(program, (Op.QUORUM, {}), answer)

    def shape(self, program: _Program, event: dict[str, Any]) -> list[bytes]:
        """Votes, expected votes, and the list of nodes."""
        if event["event"] == "votes":
            nodes = [(node["node"], int(node["state"])) for node in event["nodes"]]
            return [quorum.votes_event(program.context, event["quorate"], nodes)]
        if event["event"] == "expected_votes":
            return [quorum.expected_event(program.context, event["expected_votes"])]
        if event["event"] == "votes_nodelist":
            return [quorum.votes_nodelist_event(program.context, _ring(event), event["members"])]
        return []

    def present(self, program: _Program, found: dict[str, Any], members: list[int]) -> list[bytes]:
        """The list of nodes, and the votes."""
        nodes = [(node["node"], STATES[node["state"]]) for node in found["nodes"]]
        return [
            quorum.votes_nodelist_event(program.context, _ring(found), members),
            quorum.votes_event(program.context, found["quorate"], nodes),
        ]


def _ring(found: dict[str, Any]) -> quorum.Ring:
    return found["ring"]["representative"], found["ring"]["sequence"]


def _information(found: dict[str, Any], node: int) -> quorum.Information:
    """What is known of the node. Raises `RequestError` if nothing is."""
    wanted = node or found["node"]
    for each in found["nodes"]:
        if each["node"] == wanted:
            flags = sum(FLAGS.get(name, 0) for name in found["flags"])
            return quorum.Information(
                wanted, STATES[each["state"]], each["votes"], each["expected_votes"], found["highest_expected"],
                found["total_votes"], found["quorum"], flags,
            )  # fmt: skip
    raise RequestError(Code.NOT_EXIST, f"node {wanted} is not known")
