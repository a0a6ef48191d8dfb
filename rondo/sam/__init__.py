"""SAM for applications: watch this process, and restart it after a crash or a hang, with the data of the last instance.

    import rondo.sam

    rondo.sam.initialize(interval_ms=1000, policy=rondo.sam.Policy.RESTART)
    instance = rondo.sam.register()              # 0, then 1 more after each restart
    state = rondo.sam.data_restore()             # what the last instance has stored; b"" at first
    rondo.sam.start()                            # from here on, confirm at least every 1000 ms
    while work():
        rondo.sam.health_check_send()

One application of a process, as in Corosync; a child that was forked off is another one, and begins with `initialize`.
All functions may be called from any thread, and raise `rondo.Error`.
`rondo.aio.sam` has the same for asyncio. Programs that are not written for SAM are started with `rondo sam run`.
"""

import threading
from collections.abc import Callable

from rondo._client.arguments import bytes_of, function_of
from rondo.errors import BadHandle, Exists
from rondo.protocol.sam_gateway import Op
from rondo.sam.client import CONNECT_TIMEOUT_S, Client, Policy

__all__ = [
    "Policy",
    "data_restore",
    "data_size",
    "data_store",
    "finalize",
    "health_check_callback",
    "health_check_send",
    "initialize",
    "mark_failed",
    "register",
    "start",
    "stop",
    "warn_signal_set",
]

HealthCheck = Callable[[], object]

_client: Client | None = None
_callback: HealthCheck | None = None
_confirming: threading.Event | None = None
"""Set to end the thread that calls the health check callback."""


def initialize(
    interval_ms: int, policy: Policy, *, endpoint: str | None = None, timeout: float | None = CONNECT_TIMEOUT_S
) -> None:
    """Connect to the node's SAM. Nothing is watched yet.

    interval_ms: how long this application may be silent once it has called `start`; 0 = for ever. policy: what follows
    the end of this process; the QUORUM ones also end it when quorum is lost. endpoint: of the node, as in
    `rondo.connect`. Raises Exists, InvalidParameter, AccessDenied, Timeout.
    """
    global _client
    _forget_the_parents()
    if _client is not None:
        raise Exists("this process has initialized SAM already; finalize() first")
    _client = Client(interval_ms, policy, endpoint, timeout)


def register() -> int:
    """Watch this process from now on: when it ends, the policy decides. Returns the number of this instance.

    SAM adopts a process that it has not started. It would restart it by its own command line, environment and
    directory. Raises AccessDenied if SAM could not start a process of this user; NotExist under a quorum policy without
    a quorum provider; Exists, BadHandle.
    """
    return _initialized().register()


def start() -> None:
    """Start health checks: this application must send one in every interval.

    Under a quorum policy this call waits until there is quorum, however long that takes. Other calls wait meanwhile.
    """
    _initialized().start()
    _confirm()


def stop() -> None:
    """Stop health checks. The end of the process is still noticed."""
    _stop_confirming()
    client = _initialized()
    client.ask(Op.STOP_CHECKS)
    client.is_started = False


def finalize() -> None:
    """Stop watching, and close the connection. From now on the end of this process has no consequences."""
    global _client, _callback
    client = _initialized()
    _stop_confirming()
    if client.instance >= 0:
        client.ask(Op.FINALIZE)
    client.close()
    _client = _callback = None


def health_check_send() -> None:
    """Confirm that this application is healthy. It costs a few microseconds and never blocks."""
    _initialized().health_check_send()


def health_check_callback(function: HealthCheck | None) -> None:
    """Let a thread call `function` four times an interval while health checks are started.

    It is healthy if it returns, with anything but False. If it raises, returns False or does not return, nothing is
    confirmed. None: no such thread; call `health_check_send`. Raises InvalidParameter for what is no function, or is
    one that has to be awaited.
    """
    global _callback
    if function is not None:
        function_of(function, "function")
    _forget_the_parents()
    _stop_confirming()
    _callback = function
    _confirm()


def warn_signal_set(number: int) -> None:
    """Set the signal that is sent before the kill (default SIGTERM). SIGKILL: no warning."""
    _initialized().warn_signal_set(number)


def data_store(data: bytes) -> None:
    """Keep data for the next instance, instead of what was kept before. At most 1 MiB: raises TooBig."""
    _initialized().ask(Op.STORE, {"data": bytes_of(data)})


def data_restore() -> bytes:
    """The data that was stored last, by this or an earlier instance; empty if there is none."""
    data: bytes = _initialized().ask(Op.RESTORE)
    return data


def data_size() -> int:
    """How many bytes `data_restore` would return."""
    return len(data_restore())


def mark_failed() -> None:
    """Declare that this application is broken: it is killed without a warning, and the policy decides."""
    _initialized().ask(Op.MARK_FAILED)


def _forget_the_parents() -> None:
    """A process that was forked off is another application, or none."""
    global _client, _callback, _confirming
    if _client is not None and not _client.is_ours:
        _client = _callback = _confirming = None


def _initialized() -> Client:
    _forget_the_parents()
    if _client is None:
        raise BadHandle("initialize() comes first")
    return _client


def _confirm() -> None:
    """Start the thread if there is a callback and health checks are started."""
    global _confirming
    client = _client
    if _callback is None or client is None or not client.is_started or not client.interval_ms:
        return
    _confirming = threading.Event()
    threading.Thread(target=_run, args=(client, _callback, _confirming), name="rondo-sam", daemon=True).start()


def _run(client: Client, function: HealthCheck, over: threading.Event) -> None:
    while True:
        try:
            is_healthy = function() is not False
        except Exception:
            is_healthy = False
        if over.is_set():
            return
        if is_healthy:
            client.health_check_send()
        if over.wait(client.confirm_s):
            return


def _stop_confirming() -> None:
    global _confirming
    if _confirming is not None:
        _confirming.set()
        _confirming = None
