"""Sixteen nodes on this machine under full load: no membership may change.

    python -m tests.cluster.chaos.crowd --seconds 300

An application on each node sends as fast as it may and takes everything that the others send, on however few processors
there are. Default timers; no rights are needed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rondo import config
from tests.cluster.chaos.overload import SENDER
from tests.cluster.rondo_node import REPOSITORY
from tests.cluster.test_sixteen_nodes import NODES, Node, configuration, wait_one_ring

MESSAGE_BYTES = 512
STOP_S = 5.0


def crowd(seconds: float, stack: ExitStack) -> tuple[list[str], str]:
    """What is wrong, and one line of what was seen."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rondo-crowd-", dir="/tmp")))
    path = configuration(directory)
    nodes = []
    for number in range(1, NODES + 1):
        state_dir = directory / f"s{number}"
        state_dir.mkdir(mode=0o700)
        resolved = directory / f"resolved{number}"
        config.resolve(config.load(path, node_id=number), state_dir=state_dir).save(resolved)
        nodes.append(Node(number, resolved, directory))
        stack.callback(nodes[-1].kill)
    wait_one_ring(nodes)
    before = nodes[0].ring()
    outputs = []
    for node in nodes:
        output = (directory / f"sender{node.number}.out").open("wb")
        outputs.append(Path(output.name))
        sender = subprocess.Popen(
            [sys.executable, "-c", SENDER, node.endpoint, str(MESSAGE_BYTES)],
            stdout=output, stderr=subprocess.STDOUT, env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        output.close()
        stack.callback(_end, sender)
    time.sleep(seconds)
    wrong = []
    after = [node.ring() for node in nodes]
    if any(ring != before for ring in after):
        wrong.append(f"the ring changed from {before} to {after}")
    counts = [[int(line.split()[0]) for line in path.read_text().splitlines()] for path in outputs]
    if any(not each for each in counts):
        wrong.append(f"some applications have seen nothing: {[len(each) for each in counts]}")
    late = [node.log().count("was not scheduled for") for node in nodes]
    delivered = sum(sum(each) for each in counts)
    return (
        wrong,
        f"{delivered:,} deliveries in {seconds:g} s at {NODES} applications, not scheduled in time: {sum(late)}",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(STOP_S)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.chaos.crowd", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="of full load (default 300)")
    options = parser.parse_args()
    with ExitStack() as stack:
        wrong, seen = crowd(options.seconds, stack)
    print(seen)
    print("\n".join(wrong) if wrong else "no membership changed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
