"""Mutants of the gateway and of the client's library."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Area, Mutant

_G = "services/ipc_gateway/"
_C = "rondo/_client/"
_gateway = partial(Mutant, Area.GATEWAY)
_client = partial(Mutant, Area.CLIENT)

MUTANTS = (
    _gateway(
        _G + "gateway.py",
        "        if session.in_flight_bytes > IN_FLIGHT_BYTES_MAX:\n",
        "        if False:\n",
        "a client that goes on sending beyond its window is cut off",
        ("tests/unit/gateway/test_bounds.py",),
    ),
    _gateway(
        _G + "gateway.py",
        "        if first > session.next_request:\n            if not session.is_repeating:\n",
        "        if first > session.next_request:\n            if False:\n",
        "a gap in a client's requests is not passed over",
        ("tests/unit/gateway/test_strangers.py",),
    ),
    _gateway(
        _G + "credentials.py",
        "    if not is_same or start_time_of(peer.pid) != start_time:\n",
        "    if not is_same:\n",
        "a pid that is used again is another process",
        ("tests/unit/gateway/test_identity.py",),
    ),
    _gateway(
        _G + "credentials.py",
        "    if not is_same or start_time_of(peer.pid) != start_time:\n",
        "    if start_time_of(peer.pid) != start_time:\n",
        "a process that has changed its user is another one",
        ("tests/unit/gateway/test_identity.py",),
    ),
    _gateway(
        _G + "credentials.py",
        "        return peer.uid in self._uids or peer.gid in self._gids\n",
        "        return True\n",
        "only those connect who may",
        ("tests/unit/gateway/test_strangers.py",),
    ),
    _gateway(
        _G + "limits.py",
        "soft != resource.RLIM_INFINITY and soft < wanted:",
        "soft != resource.RLIM_INFINITY:",
        "a limit of open files that is higher already is left as it is",
        ("tests/unit/gateway/test_bounds.py",),
    ),
    _gateway(
        "rondo/ipc/bounds.py",
        "        return self.read_bytes < self._read_bytes_max or",
        "        return True or",
        "half frames of a user are bounded",
        ("tests/unit/ipc/test_bounds.py",),
    ),
    _gateway(
        "rondo/ipc/bounds.py",
        "            if account.is_overfull() and",
        "            if False and",
        "who reads least of a user loses the connection when it is too much",
        ("tests/unit/ipc/test_bounds.py",),
    ),
    _gateway(
        _G + "gateway.py",
        "        if session.next_request - 1 - session.settled > IN_FLIGHT_REQUESTS_MAX:\n",
        "        if False:\n",
        "a client that goes on sending tiny requests is cut off",
        ("tests/unit/gateway/test_gateway.py",),
    ),
    _gateway(
        _G + "tcp_relay.py",
        "CHUNK_BYTES if self.is_proven or side is self.inner else HANDSHAKE_BYTES_MAX - self._sent",
        "CHUNK_BYTES",
        "a stranger may say four kilobytes at the TCP port",
        ("tests/unit/gateway/test_tcp_relay.py",),
    ),
    _client(
        _C + "requests.py",
        "        while unsettled and unsettled[0].last <= number:\n",
        "        while unsettled and unsettled[0].first <= number:\n",
        "a batch is settled when the last of its requests is",
        ("tests/unit/client/test_requests.py",),
    ),
    _client(
        _C + "requests.py",
        "        self.unsent.extendleft(reversed(self.unsettled))\n",
        "        self.unsent.extend(self.unsettled)\n",
        "what was not settled is sent again before what follows it",
        ("tests/unit/client/test_requests.py",),
    ),
    _client(
        _C + "requests.py",
        "        if kept >= self.window_requests or (kept and self.bytes_kept + cost > self.window_bytes):\n",
        "        if kept >= self.window_requests:\n",
        "what a client has on its way is bounded by its bytes",
        ("tests/unit/client",),
    ),
    _client(
        _C + "requests.py",
        "            if batch.done == batch.count:\n                del self.unresolved[batch.first]\n",
        "            del self.unresolved[batch.first]\n",
        "a batch is resolved when all of its requests are",
        ("tests/unit/client",),
    ),
)
