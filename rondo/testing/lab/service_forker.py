"""Starts the services of nodes as forks of one process that has all their code loaded.

    python -m rondo.testing.lab.service_forker SERVICE

To start an interpreter and to load the code takes a service a tenth of a second of processor time or two; a cluster of
three nodes has twelve. A fork takes a few milliseconds, and from there on is what `python -m services.SERVICE` is. The
code of SERVICE is loaded at once, that of others when the first of them is started.

A line on standard input, a JSON object, has it start one; the answer is a line with its process id. At the end of its
standard input, and so when the test that has started it is gone, it kills those that are left.

    {"service": "totem", "arguments": [...], "log": PATH, "namespaces": [PATH, ...]}

The namespaces are entered in their order, as `nsenter` does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

from rondo import config

FAILED = 70
"""EX_SOFTWARE: a service has raised what it should not."""


def enter(namespaces: list[str]) -> None:
    """Enter these namespaces. Raises OSError."""
    descriptors = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in namespaces]
    libc = ctypes.CDLL(None, use_errno=True)
    for path, descriptor in zip(namespaces, descriptors, strict=True):
        if libc.setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter", path)
        os.close(descriptor)


def redirect(log: str) -> None:
    """Give the process an empty standard input, and its log as standard output and error."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(written)


def load(service: str) -> Any:
    """Import the code of a service."""
    module = import_module(f"services.{service}.__main__")
    gc.freeze()  # or each fork would copy it when it collects garbage
    return module


def serve(module: Any, order: dict[str, Any]) -> NoReturn:
    """In the fork: run a service until it ends."""
    code = FAILED
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        redirect(order["log"])
        enter(order["namespaces"])
        code = module.main(module.SERVICE, order["arguments"])
    except SystemExit as error:  # of argparse
        code = error.code if isinstance(error.code, int) else FAILED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Start services until standard input ends. Then kill those that are left."""
    load(sys.argv[1])
    for name in config.__all__:  # all of them read the configuration, which is loaded when it is first used
        getattr(config, name)
    gc.freeze()
    # Nobody waits for them here: the kernel takes them away, and the test sees their end by descriptors of its own.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    started = []
    for line in sys.stdin:
        order = json.loads(line)
        module = load(order["service"])
        pid = os.fork()
        if pid == 0:
            serve(module, order)
        started.append(pid)
        print(pid, flush=True)
    for pid in started:
        # It leads its session, so no other process has got its number as long as anything of that is left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == pid:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
