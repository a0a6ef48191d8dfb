"""A real gateway process between the loopback cpg and whoever connects."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rondo
from rondo import config
from rondo.config.node import NodeConfig
from tests.unit.gateway.loopback import Loopback

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A run directory with a short path; others may enter it, as they may enter /run/rondo."""
    path = Path(tempfile.mkdtemp(prefix="rondo-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def loopback(run_dir: Path) -> Iterator[Loopback]:
    """cpg."""
    cpg = Loopback(run_dir)
    yield cpg
    cpg.close()


CONFIGURATION = """
totem {
    version: 2
    cluster_name: gateway
    transport: udpu
    secauth: off
}
nodelist {
    node {
        nodeid: 1
        ring0_addr: 127.0.0.1
    }
}
"""


@pytest.fixture(scope="session")
def node_config(tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    """One node on loopback."""
    file = tmp_path_factory.mktemp("gateway") / "corosync.conf"
    file.write_text(CONFIGURATION)
    return config.resolve(config.load(file))


class GatewayProcess:
    """The service as a process of its own."""

    def __init__(self, run_dir: Path, node_config: NodeConfig) -> None:
        self.run_dir = run_dir
        self.endpoint = f"ipc://{run_dir / 'gateway.sock'}"
        self.log = run_dir / "gateway.log"
        self._resolved = run_dir / "node.resolved"
        node_config.save(self._resolved)
        self.start()

    def start(self) -> None:
        """Start it; it need not serve yet when this returns."""
        command = [sys.executable, "-m", "services.ipc_gateway", "--run-dir", str(self.run_dir)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, "--resolved", str(self._resolved)], cwd=ROOT, stderr=log)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it with SIGTERM. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def connect(self, timeout: float = 60.0) -> rondo.Cluster:
        """Connect a client."""
        return rondo.connect(self.endpoint, timeout=timeout)

    def close(self) -> None:
        """End it, and check that it logged no errors of its own."""
        if self.process.poll() is None:
            assert self.stop() == 0
        assert "Traceback" not in self.log.read_text()


StartGateway = Callable[..., GatewayProcess]


@pytest.fixture
def start_gateway(run_dir: Path, node_config: NodeConfig) -> Iterator[StartGateway]:
    """Starts a gateway with changes of the configuration."""
    started: list[GatewayProcess] = []

    def start(**changes: object) -> GatewayProcess:
        started.append(GatewayProcess(run_dir, dataclasses.replace(node_config, **changes)))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def gateway(start_gateway: StartGateway) -> GatewayProcess:
    """A gateway that has begun to serve, so that SIGTERM finds its handler there."""
    gateway = start_gateway()
    eventually(lambda: "Waiting for clients" in gateway.log.read_text())
    return gateway


def eventually(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


CONNECT_AS = """
import os, sys
import rondo, rondo.aio, zmq.utils.monitor  # what is imported later may not be readable for that user
uid = int(sys.argv[2])
rondo.connect, rondo.Cluster
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
try:
    with rondo.connect(sys.argv[1], timeout=60) as cluster:
        print("node", cluster.node_id)
except rondo.Error as error:
    print(type(error).__name__, error.code)
"""


def connect_as(uid: int, endpoint: str) -> str:
    """What comes of it if a process of that user connects: `node N`, or the error's name and code."""
    command = [sys.executable, "-c", CONNECT_AS, endpoint, str(uid)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout + done.stderr).strip()
