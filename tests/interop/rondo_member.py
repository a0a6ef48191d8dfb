"""The test's side of `rondo_client.py`: a member of a process group on a Rondo node."""

import subprocess
import sys
from typing import IO

from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from tests.interop.cpg_member import CpgMember

ENDPOINT = f"ipc://{RUN_DIRECTORY}/gateway.sock"


class RondoMember(CpgMember):
    """A process in the host of a Rondo node that is a member of one group."""

    def _launch(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "tests.interop.rondo_client", ENDPOINT, self.group]
        environment = {"PYTHONPATH": str(REPOSITORY)}
        return self.host.popen(
            argv, environment=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
