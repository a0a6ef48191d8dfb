"""The keeper process. Only SAM starts it, with the first application, in a session of its own.

    python -m services.sam.keeper RUN_DIR

The keeper serves one SAM at a time, the latest to connect. On SIGTERM, or END from SAM, it kills all applications and
ends. Exit codes: 0 ended as asked; 2 wrong usage; 15 its socket is not available; 18 another keeper runs there.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from rondo.node.instance import InstanceError, InstanceLock
from rondo.node.process_name import set_process_name
from services.sam.keeper.children import Child, Children, become_subreaper, complain
from services.sam.keeper.output import Outputs, make_fifo
from services.sam.keeper.wire import VERSION, Say, Tell, Unframer, WireError, frame

SOCKET = "keeper.sock"
OUTPUTS = "sam"
"""The directory of the outputs, in the run directory."""
DROPPED_TOLD_S = 10.0
"""SAM is told at most once in this time how much output was dropped."""
OUTBOX_BYTES_MAX = 4 * 1024 * 1024
"""If more waits for SAM, because SAM does not read, SAM is disconnected. It asks for the list when it reconnects."""
RECEIVE_BYTES = 256 * 1024
END_S_MAX = 6.0
EXIT_FATAL = 15
EXIT_RUNNING = 18


class Keeper:
    """The keeper's loop: it takes orders from SAM, reaps processes, copies output, and reports to SAM."""

    def __init__(self, run_dir: Path) -> None:
        """Raises InstanceError, OSError."""
        self._lock = InstanceLock(run_dir, "keeper")
        self._wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_asked_to_end", True))
        become_subreaper()
        set_process_name("keeper")
        self._poll = select.epoll()
        self._children = Children(self._poll)
        self._outputs = Outputs(self._poll)
        self._outputs.budget.take_stock(run_dir / OUTPUTS)
        self._dropped_told_at_s = 0.0
        self._listener = self._listen(run_dir / SOCKET)
        self._sam: socket.socket | None = None
        self._unframer = Unframer()
        self._outbox = bytearray()
        self._asked_to_end = False
        self._ending_at_s: float | None = None
        for descriptor in (self._wake_read, self._listener.fileno()):
            self._poll.register(descriptor, select.EPOLLIN)

    @staticmethod
    def _listen(path: Path) -> socket.socket:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        os.umask(0o077)
        listener.bind(str(path))
        listener.listen(4)
        return listener

    def run(self) -> None:
        """Run until asked to end and all processes have ended."""
        wait_s: float | None = None
        while self._ending_at_s is None or (self._children.are_running and time.monotonic() < self._ending_at_s):
            for descriptor, events in self._poll.poll(wait_s):
                self._see_to(descriptor, events)
            now_s = time.monotonic()
            due = [self._children.clear(now_s), self._outputs.pace(now_s), self._ending_at_s]
            for child in self._children.started:
                self._tell([Tell.SPAWNED, child.key, child.instance, child.pid, child.start_time])
            self._children.started.clear()
            for child in self._children.ended:
                self._outputs.drain(child.key)
                self._tell([Tell.ENDED, child.key, child.instance, child.ending])
            self._children.ended.clear()
            self._tell_dropped(now_s)
            self._flush()
            wait_s = min((max(0.0, each - now_s) for each in due if each is not None), default=None)

    def _see_to(self, descriptor: int, events: int) -> None:
        if descriptor == self._wake_read:
            if self._asked_to_end:
                self._end()
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 512)
            self._children.reap(time.monotonic())
        elif descriptor == self._listener.fileno():
            self._accept()
        elif self._sam is not None and descriptor == self._sam.fileno():
            if events & ~select.EPOLLOUT:
                self._receive()
        elif not self._outputs.read(descriptor):
            self._children.reported(descriptor)

    # -- SAM

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            sam, _ = self._listener.accept()
            self._drop_sam()
            sam.setblocking(False)
            self._sam = sam
            self._poll.register(sam.fileno(), select.EPOLLIN)

    def _drop_sam(self) -> None:
        if self._sam is not None:
            self._poll.unregister(self._sam.fileno())
            self._sam.close()
            self._sam = None
        self._unframer = Unframer()
        self._outbox.clear()

    def _receive(self) -> None:
        assert self._sam is not None
        try:
            data = self._sam.recv(RECEIVE_BYTES)
            messages = self._unframer.feed(data)
        except BlockingIOError:
            return
        except (OSError, WireError):
            data, messages = b"", []
        for message in messages:
            try:
                self._obey(message)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                complain(f"SAM said what cannot be understood: {error!r}")
        if not data:
            self._drop_sam()

    def _obey(self, message: list[Any]) -> None:
        match message:
            case [Say.SPAWN, str(key), int(instance), dict(spec)]:
                self._spawn(key, instance, spec)
            case [Say.SIGNAL, str(key), int(instance), int(number)]:
                self._children.signal(key, instance, number)
            case [Say.FORGET, str(key), int(instance)]:
                self._children.forget(key, instance)
            case [Say.LIST]:
                self._tell([Tell.LISTED, VERSION, [_listed(child) for child in self._children]])
            case [Say.DRAIN, str(key), str(fifo), str(log), int(uid)]:
                with contextlib.suppress(OSError):
                    self._outputs.open(key, fifo, log, uid)
            case [Say.LIMIT, int(per_user_bytes), int(all_bytes)]:
                self._outputs.budget.limit(per_user_bytes, all_bytes)
            case [Say.CLOSE, str(key)]:
                self._outputs.close(key)
            case [Say.END]:
                self._end()
            case _:
                raise ValueError(f"{message!r:.80}")

    def _spawn(self, key: str, instance: int, spec: dict[str, Any]) -> None:
        try:
            make_fifo(spec["output"], spec["uid"])
            if spec["health"]:
                make_fifo(spec["health"], spec["uid"])
            self._outputs.open(spec["output_key"], spec["output"], spec["log"], spec["uid"])
            child = self._children.spawn(key, instance, spec)
        except OSError as error:
            self._tell([Tell.ENDED, key, instance, [127, False, "start", error.errno or 0, time.time()]])
            return
        if child is None:
            # A process of this key exists: SAM learns its state from the list.
            self._tell([Tell.LISTED, VERSION, [_listed(each) for each in self._children]])

    def _tell_dropped(self, now_s: float) -> None:
        """Tell SAM for each user how much output was dropped. SAM logs this."""
        dropped = self._outputs.budget.dropped
        if dropped and now_s - self._dropped_told_at_s >= DROPPED_TOLD_S:
            self._dropped_told_at_s = now_s
            for uid, count in dropped.items():
                self._tell([Tell.DROPPED, uid, count])
            dropped.clear()

    def _tell(self, message: list[Any]) -> None:
        if self._sam is not None:
            self._outbox += frame(message)

    def _flush(self) -> None:
        if self._sam is None or not self._outbox:
            return
        try:
            sent = self._sam.send(self._outbox)
            del self._outbox[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._drop_sam()
            return
        if len(self._outbox) > OUTBOX_BYTES_MAX:
            self._drop_sam()
            return
        self._poll.modify(self._sam.fileno(), select.EPOLLIN | (select.EPOLLOUT if self._outbox else 0))

    def _end(self) -> None:
        if self._ending_at_s is None:
            self._ending_at_s = time.monotonic() + END_S_MAX
        self._children.kill_all()


def _listed(child: Child) -> list[Any]:
    return [child.key, child.instance, child.pid, child.start_time, child.ending]


def main() -> int:
    """Run the keeper; returns its exit code."""
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        print("usage: python -m services.sam.keeper RUN_DIR; SAM starts it", file=sys.stderr)
        return 2
    try:
        Keeper(Path(sys.argv[1])).run()
    except InstanceError as error:
        print(f"keeper: {error}", file=sys.stderr)
        return EXIT_RUNNING
    except OSError as error:
        print(f"keeper: {error.filename or sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return EXIT_FATAL
    return 0


if __name__ == "__main__":
    sys.exit(main())
