"""A signal handler of the application that uses the connection for which its own thread waits."""

import subprocess
import sys

import pytest

from tests.unit.gateway.conftest import ROOT, GatewayProcess
from tests.unit.gateway.loopback import Loopback

PROGRAM = """
import signal, sys, threading, time
import rondo

cluster = rondo.connect(sys.argv[1])
group = cluster.cpg.join("g")
other = cluster.cpg.join("other")
group.poll(60)

def handler(_number, _frame):
    {handler}

signal.signal(signal.SIGUSR1, handler)
# To the thread that waits: what is sent to the process may go to another thread, and Python then wakes nobody.
threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1)).start()
try:
    {waits}
except rondo.Disconnected:
    pass
{after}
print("over")
"""


@pytest.mark.parametrize(
    ("handler", "waits", "after"),
    [
        ("cluster.close()", "[event for event in group]", ""),
        ("other.leave()", "group.poll(2)", "cluster.close()"),
        ("group.leave()", "[event for event in group]", "cluster.close()"),
        ("group.mcast(b'x').ordered()", "assert group.poll(20) is not None", "cluster.close()"),
        ("sys.exit(print('over'))", "group.poll()", ""),
    ],
)
def test_a_handler_may_use_the_connection_that_is_waited_for(
    loopback: Loopback, gateway: GatewayProcess, handler: str, waits: str, after: str
) -> None:
    gateway.connect().close()
    program = PROGRAM.format(handler=handler, waits=waits, after=after)
    command = [sys.executable, "-c", program, gateway.endpoint]
    ended = subprocess.run(command, cwd=ROOT, timeout=30, capture_output=True, text=True, check=False)
    assert ended.stdout == "over\n", ended.stderr
