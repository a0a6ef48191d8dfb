"""The socket `cmap`: control's keys. Each call becomes one request to control, and is answered when that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.qb_gateway.calls import Calls
from services.qb_gateway.connection import WAITING_BYTES_MAX, Connection
from services.qb_gateway.tracks import ICMAP, STATS, StatisticsTracker, Track, Tracks, events_of
from services.qb_gateway.wire import cmap
from services.qb_gateway.wire.messages import RequestError, unknown_reply

MAPS = (ICMAP, STATS)
HANDLES_MAX = 256
"""How many iterations and tracks one program may have at a time."""


@dataclass(slots=True)
class _Program:
    connection: Connection
    map: str = ICMAP
    iterations: dict[int, list[list[Any]]] = field(default_factory=dict)
    tracks: Tracks = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return len(self.iterations) + len(self.tracks) >= HANDLES_MAX


class CmapService(Calls):
    """All programs that are connected to the socket."""

    name = "cmap"
    message_bytes_max = cmap.MESSAGE_BYTES_MAX
    waiting_bytes_max = WAITING_BYTES_MAX

    def __init__(self, control: ControlLink, on_key: Callable[[str, Any], None]) -> None:
        """`on_key` is called with every change of a key, before the program that made it gets its answer: the new
        `[type, value]`, or None. At first it is called with all existing keys below `uidgid.`."""
        self._control = control
        self._on_key = on_key
        self._programs: dict[Connection, _Program] = {}
        self._handles = count(1)
        self._statistics = StatisticsTracker(control)
        self._handlers: dict[int, Callable[[_Program, bytes], None]] = {
            cmap.SET: self._set,
            cmap.DELETE: self._delete,
            cmap.GET: self._get,
            cmap.ADD: self._add,
            cmap.ITERATE: self._iterate,
            cmap.NEXT: self._next,
            cmap.END: self._end,
            cmap.TRACK: self._track,
            cmap.UNTRACK: self._untrack,
            cmap.CHOOSE: self._choose,
        }
        control.watch("keys", self._on_changes)

    # -- what the process calls ----------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A program has connected."""
        connection.state = self._programs[connection] = _Program(connection)

    def closed(self, connection: Connection) -> None:
        """It is gone, and its iterations and tracks with it."""
        program = self._programs.pop(connection)
        program.tracks.clear()
        self._statistics.closed(connection)
        self._control.forget(connection.whose)

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """A request."""
        handler = self._handlers.get(ident)
        if handler is None:
            connection.refuse(unknown_reply())
        elif len(message) < cmap.SIZES_MIN[ident]:
            connection.refuse(cmap.refusal(ident, Code.INVALID_PARAM))
        else:
            try:
                handler(connection.state, message)
            except RequestError as error:
                connection.reply(cmap.refusal(ident, error.code))

    # Calls.

    def _ask(
        self,
        program: _Program,
        ident: int,
        op: Op,
        arguments: dict[str, Any],
        make: Callable[[Any], bytes] | None = None,
    ) -> None:
        """Ask control, and reply with what `make` makes of the result, or with the error code alone."""

        def answer(code: int, result: Any) -> None:
            if self._programs.get(program.connection) is not program:
                return
            if code == Code.OK and op in (Op.SET, Op.DELETE):
                new = [arguments["type"], arguments["value"]] if op == Op.SET else None
                self._on_key(arguments["key"], new)
            is_made = code == Code.OK and make is not None
            program.connection.reply(make(result) if is_made and make is not None else cmap.refusal(ident, code))

        self._control.ask(op, arguments, answer, program.connection.whose)

    def _set(self, program: _Program, message: bytes) -> None:
        kind, value = cmap.value_of(message)
        arguments = {"map": program.map, "key": cmap.key_of(message), "type": kind, "value": value}
        self._ask(program, cmap.SET, Op.SET, arguments)

    def _delete(self, program: _Program, message: bytes) -> None:
        self._ask(program, cmap.DELETE, Op.DELETE, {"map": program.map, "key": cmap.key_of(message)})

    def _add(self, program: _Program, message: bytes) -> None:
        arguments = {"map": program.map, "key": cmap.key_of(message), "step": cmap.step_of(message)}
        self._ask(program, cmap.ADD, Op.INCREMENT, arguments)

    def _get(self, program: _Program, message: bytes) -> None:
        room = cmap.room_of(message)
        if room > self.message_bytes_max - 64:
            raise RequestError(Code.INVALID_PARAM, f"room for {room} bytes")

        def make(found: Any) -> bytes:
            return cmap.value_reply(found[0], cmap.pack_value(*found), room)

        self._ask(program, cmap.GET, Op.GET, {"map": program.map, "key": cmap.key_of(message)}, make)

    def _iterate(self, program: _Program, message: bytes) -> None:
        if program.is_full:
            raise RequestError(Code.NO_RESOURCES, "too many handles")

        def make(found: Any) -> bytes:
            if program.is_full:  # by others that were asked for at the same time
                return cmap.refusal(cmap.ITERATE, Code.NO_RESOURCES)
            handle = next(self._handles)
            program.iterations[handle] = found[::-1]
            return cmap.handle_reply(cmap.ITERATE, handle)

        self._ask(program, cmap.ITERATE, Op.KEYS, {"map": program.map, "prefix": cmap.key_of(message)}, make)

    def _next(self, program: _Program, message: bytes) -> None:
        left = program.iterations.get(cmap.number_of(message))
        if left is None:
            raise RequestError(Code.BAD_HANDLE, "no such iteration")
        if not left:
            raise RequestError(Code.NO_SECTIONS, "the end")
        key, kind, value = left.pop()
        program.connection.reply(cmap.entry_reply(key, kind, len(cmap.pack_value(kind, value))))

    def _end(self, program: _Program, message: bytes) -> None:
        known = program.iterations.pop(cmap.number_of(message), None) is not None
        program.connection.reply(cmap.refusal(cmap.END, Code.OK if known else Code.BAD_HANDLE))

    def _track(self, program: _Program, message: bytes) -> None:
        if program.is_full:
            raise RequestError(Code.NO_RESOURCES, "too many handles")
        kinds, client_handle = cmap.track_of(message)
        track = Track(cmap.key_of(message), kinds, client_handle)

        def begin(code: int) -> None:
            if self._programs.get(program.connection) is not program:
                return
            if code == Code.OK and program.is_full:
                code = Code.NO_RESOURCES
            if code != Code.OK:
                program.connection.reply(cmap.refusal(cmap.TRACK, code))
                return
            handle = next(self._handles)
            program.tracks[handle] = track
            program.connection.reply(cmap.handle_reply(cmap.TRACK, handle))

        if program.map == STATS:
            self._statistics.begin(program.connection, program.tracks, track, begin)
        else:
            begin(Code.OK)

    def _untrack(self, program: _Program, message: bytes) -> None:
        track = program.tracks.pop(cmap.number_of(message), None)
        if track is None:
            raise RequestError(Code.BAD_HANDLE, "no such track")
        program.connection.reply(cmap.handle_reply(cmap.UNTRACK, track.client_handle))

    def _choose(self, program: _Program, message: bytes) -> None:
        number = cmap.map_of(message)
        if program.iterations or program.tracks:
            raise RequestError(Code.BUSY, "iterations or tracks are open")
        if not 0 <= number < len(MAPS):
            raise RequestError(Code.NOT_EXIST, f"map {number}")
        program.map = MAPS[number]
        program.connection.reply(cmap.refusal(cmap.CHOOSE, Code.OK))

    # Changes.

    def _on_changes(self, changes: list[dict[str, Any]], is_lost: bool) -> None:
        if not changes or is_lost:
            self._control.ask(Op.KEYS, {"map": ICMAP, "prefix": "uidgid."}, self._on_access_keys)
        for change in changes:
            self._on_key(change["key"], change["new"])
        for program in self._programs.values():
            if program.map == ICMAP and (events := events_of(program.tracks, changes)):
                program.connection.post(events)

    def _on_access_keys(self, code: int, found: Any) -> None:
        if code == Code.OK:
            for key, kind, value in found:
                self._on_key(key, [kind, value])
