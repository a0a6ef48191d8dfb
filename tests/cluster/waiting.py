"""A thousand clients that wait for a node that is away: python -m tests.cluster.waiting --clients 1000 --seconds 90

Each is a process with the library as applications have it, in a group and waiting for events. Their gateway is stopped,
and it is measured what all of them together take of a processor: after the seconds of quick attempts under 1 % of a
core. Then it is started again, and all have to be back. They are far more than a user has inotify instances.
"""

import argparse
import gc
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import rondo
from rondo import config
from rondo._client.absence import QUICK_S
from tests.unit.gateway.conftest import CONFIGURATION, GatewayProcess
from tests.unit.gateway.loopback import Loopback

LONG_S = 300.0
GROUPS = 20
TOGETHER = 50
"""So many begin before the next wait for them: it is not the start that is measured."""
SETTLE_S = 2 * QUICK_S
CORE_PERCENT_MAX = 1.0


def client(endpoint: str, number: int, report: int) -> None:
    """One of them: says `j` when it is in its group, `s` when it is cut off, `b` when it is back."""
    cluster = rondo.connect(endpoint, LONG_S)
    group = cluster.cpg.join(f"waiting-{number % GROUPS}", LONG_S)
    os.write(report, b"j")
    for event in group:
        if isinstance(event, rondo.Disconnected):
            os.write(report, b"s")
        elif isinstance(event, rondo.Reconnected):
            os.write(report, b"b")


def begin(endpoint: str, count: int) -> tuple[list[int], int]:
    """Start them; their pids, and where they report."""
    reports, report = os.pipe()
    gc.freeze()  # a collection would touch, and so copy, what they share
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                client(endpoint, number, report)
            finally:
                os._exit(1)
        pids.append(pid)
        if len(pids) % TOGETHER == 0 or len(pids) == count:
            await_reports(reports, b"j", len(pids) - (len(pids) - 1) // TOGETHER * TOGETHER)
    return pids, reports


def await_reports(reports: int, kind: bytes, count: int) -> None:
    """Return when so many have said this."""
    while count > 0:
        count -= os.read(reports, count).count(kind)


def used_s(pids: list[int]) -> float:
    """Processor time of all their threads until now, s."""
    paths = [path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


def measure(pids: list[int], seconds: float) -> float:
    """What they take of one core, percent."""
    before_s, began_s = used_s(pids), time.monotonic()
    time.sleep(seconds)
    return 100 * (used_s(pids) - before_s) / (time.monotonic() - began_s)


def run(clients: int, seconds: float) -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory(prefix="rondo-", dir="/tmp") as name:
        directory = Path(name)
        file = directory / "corosync.conf"
        file.write_text(CONFIGURATION)
        loopback = Loopback(directory)
        gateway = GatewayProcess(directory, config.resolve(config.load(file)))
        gateway.connect().close()
        pids: list[int] = []
        try:
            pids, reports = begin(gateway.endpoint, clients)
            gateway.stop()
            await_reports(reports, b"s", clients)
            time.sleep(SETTLE_S)
            percent = measure(pids, seconds)
            print(f"{clients} clients wait for {seconds:.0f} s: {percent:.2f} % of a core in all", flush=True)
            began_s = time.monotonic()
            gateway.start()
            await_reports(reports, b"b", clients)
            print(f"all are back {time.monotonic() - began_s:.1f} s after the start", flush=True)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)
            gateway.close()
            loopback.close()
    return 0 if percent < CORE_PERCENT_MAX else 1


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tests.cluster.waiting", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=90.0)
    options = parser.parse_args()
    return run(options.clients, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
