"""Clients on other hosts: over TCP with CURVE. Who has no key that is let in gets nothing, and disturbs nobody."""

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq

import rondo
import rondo.aio
from rondo import curve
from rondo._client.dialling import dial
from rondo._client.endpoint import endpoint_of
from rondo.config.node import RemoteSettings
from rondo.ipc.control import ask
from rondo.protocol.client_gateway import FROM_GATEWAY, VERSION, Kind, decode, encode
from rondo.protocol.cpg_gateway import REMOTE_UID
from services.ipc_gateway.remote import REMOTE_PID_FIRST
from services.ipc_gateway.session_registry import RESUME_REMOTE_MS
from tests.ports import free_tcp_port
from tests.unit.gateway.conftest import ROOT, GatewayProcess, StartGateway, eventually
from tests.unit.gateway.loopback import Loopback
from tests.unit.gateway.test_clients import messages

CHILD = """
import rondo, sys, time
cluster = rondo.connect(sys.argv[1], timeout=60)
group = cluster.cpg.join("g")
print(cluster.pid, flush=True)
time.sleep(60)
"""


@dataclass
class Remote:
    """A gateway that serves remote clients, and the keys."""

    gateway: GatewayProcess
    endpoint: str
    server_key: str
    directory: Path

    def key_file(self, name: str, *, admitted: bool = True) -> Path:
        """A client's key pair, which the gateway lets in or does not."""
        path = self.directory / name
        curve.write_key_pair(path, pair := curve.make_key_pair())
        if admitted:
            with (self.directory / "clients").open("a") as clients:
                clients.write(f"{pair.public.hex()} {name}\n")
        return path

    def connect(self, key_file: Path, timeout: float = 60.0) -> rondo.Cluster:
        return rondo.connect(self.endpoint, timeout, key_file=key_file, server_key=self.server_key)

    def sessions(self) -> int:
        return len(ask(self.gateway.run_dir, "ipc_gateway", "status", timeout=20)["sessions"])


@pytest.fixture
def remote(tmp_path: Path, loopback: Loopback, start_gateway: StartGateway) -> Remote:
    pair = curve.make_key_pair()
    curve.write_key_pair(tmp_path / "gateway.key", pair)
    (tmp_path / "clients").write_text("# who may\n\n")
    port = free_tcp_port()
    settings = RemoteSettings("127.0.0.1", port, str(tmp_path / "gateway.key"), str(tmp_path / "clients"))
    gateway = start_gateway(remote=settings)
    eventually(lambda: "Waiting for clients" in gateway.log.read_text())
    return Remote(gateway, f"tcp://127.0.0.1:{port}", pair.public.hex(), tmp_path)


def test_remote_and_local_clients_share_groups(remote: Remote, loopback: Loopback) -> None:
    key_file = remote.key_file("one")
    with remote.connect(key_file) as far, remote.connect(key_file) as further, remote.gateway.connect() as near:
        assert len({near.pid, far.pid, further.pid}) == 3, "each remote session is a member of its own"
        assert min(far.pid, further.pid) >= REMOTE_PID_FIRST
        groups = [cluster.cpg.join("g") for cluster in (far, further, near)]
        large = bytes(range(256)) * 8000
        for number, group in enumerate(groups):
            group.mcast(large if number == 0 else b"%d" % number).ordered(60)
        seen = [[(message.sender, message.data) for message in messages(group, 3)] for group in groups]
        assert seen[0] == seen[1] == seen[2]
        members = [rondo.Member(1, cluster.pid) for cluster in (far, further, near)]
        assert seen[0] == list(zip(members, (large, b"1", b"2"), strict=True))
        assert far.cpg.groups() == near.cpg.groups()
        told = ask(remote.gateway.run_dir, "ipc_gateway", "status", timeout=20)["sessions"]
        public = curve.read_key_pair(key_file).public.hex()
        assert [each["remote_key"] for each in told] == [public[:16], public[:16], None]
        assert [session.who[3] == REMOTE_UID for session in loopback.sessions.values()] == [True, True, False]
    eventually(lambda: remote.sessions() == 0)


def test_asyncio_too(remote: Remote) -> None:
    key_file = remote.key_file("one")

    async def run() -> bytes:
        async with rondo.aio.connect(remote.endpoint, 60, key_file=key_file, server_key=remote.server_key) as cluster:
            group = await cluster.cpg.join("g")
            await (await group.mcast(b"hello")).ordered(60)
            async for event in group:
                if isinstance(event, rondo.Message):
                    return event.data
        return b""

    assert asyncio.run(run()) == b"hello"


def test_a_key_that_is_not_listed_is_denied_and_one_that_is_taken_off_too(remote: Remote) -> None:
    stranger = remote.key_file("stranger", admitted=False)
    public = curve.read_key_pair(stranger).public.hex()
    with pytest.raises(rondo.AccessDenied, match=public):
        remote.connect(stranger)
    with (remote.directory / "clients").open("a") as clients:
        clients.write(f"{public}\n")
    remote.connect(stranger).close()
    (remote.directory / "clients").write_text("nonsense\n")
    with pytest.raises(rondo.AccessDenied):
        remote.connect(stranger)
    # The log is written by a thread of its own, after the answer.
    eventually(lambda: "clients: line 1: a public key has 64 hexadecimal digits" in remote.gateway.log.read_text())
    eventually(lambda: f"key {public[:16]}" in remote.gateway.log.read_text())


def test_a_denial_that_comes_before_the_hello_blocks_nobody(remote: Remote) -> None:
    endpoint = endpoint_of(remote.endpoint, remote.key_file("stranger", admitted=False), remote.server_key)
    dealer = dial(endpoint)

    def denied() -> bool:
        dealer.receive()
        return dealer.is_denied

    eventually(denied)
    assert dealer.is_broken
    assert dealer.send(b"hello")
    dealer.close()


def test_who_knows_no_key_hears_nothing(remote: Remote, loopback: Loopback) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    wrong_server = curve.make_key_pair()
    hello = encode(Kind.HELLO, 0, VERSION, 0, "stranger", None)
    own = curve.read_key_pair(remote.key_file("one"))
    for server_key in (None, wrong_server.public):
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        if server_key is not None:
            dealer.setsockopt(zmq.CURVE_SERVERKEY, server_key)
            dealer.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
            dealer.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
        dealer.connect(remote.endpoint)
        dealer.send(hello)
        assert not dealer.poll(300)
        dealer.close()
    context.term()
    host, port = remote.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.settimeout(60)
        # The greeting of ZMTP 3.1 with NULL, and a command and a frame of 2 GB after it.
        raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
        raw.sendall(b"\x04\x05\x05READY" + b"\x02" + struct.pack(">Q", 2 << 30) + hello)
        heard = b""
        try:
            while data := raw.recv(4096):
                heard += data
        except ConnectionError:
            pass
        assert len(heard) <= 64, "the greeting and nothing more"
    assert loopback.sessions == {}
    with remote.gateway.connect() as cluster:
        cluster.cpg.join("g").mcast(b"fine").ordered(60)


def spawn(remote: Remote, key_file: Path) -> "subprocess.Popen[bytes]":
    environment = {"RONDO_CLIENT_KEY_FILE": str(key_file), "RONDO_SERVER_KEY": remote.server_key}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, remote.endpoint], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )


def test_a_killed_remote_client_is_known_soon(remote: Remote) -> None:
    with remote.gateway.connect() as near, spawn(remote, remote.key_file("one")) as child:
        group = near.cpg.join("g")
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        child.kill()
        member = rondo.Member(1, pid)
        eventually(lambda: member in [c.member for c in left(group, 1.0)], RESUME_REMOTE_MS / 1000 + 20)


def left(group: rondo.Group, timeout: float) -> tuple[rondo.Change, ...]:
    event = group.poll(timeout)
    return event.left if isinstance(event, rondo.Membership) else ()


def test_a_remote_client_outlives_its_gateway(remote: Remote) -> None:
    # A slow machine may take longer to start the gateway than the node keeps the session of a client that is away.
    far_one = rondo.connect(
        remote.endpoint, 60, key_file=remote.key_file("one"), server_key=remote.server_key, session_timeout=60
    )
    with far_one as far, remote.gateway.connect() as near:
        group, other = far.cpg.join("g"), near.cpg.join("g")
        for number in range(100):
            group.mcast(b"%d" % number)
        remote.gateway.kill()
        for number in range(100, 200):
            group.mcast(b"%d" % number)
        remote.gateway.start()
        for each in (group, other):
            assert [m.data for m in messages(each, 200)] == [b"%d" % number for number in range(200)]
        assert len(other.members) == 2


def test_a_session_is_resumed_only_with_its_own_key(remote: Remote) -> None:
    one, two = remote.key_file("one"), remote.key_file("two")

    def welcome(key_file: Path, resume: list[object] | None) -> tuple[int, list[object]]:
        """Say hello with this key: the session's number, and what resumes it."""
        dealer = stack.enter_context(context.socket(zmq.DEALER))
        pair = curve.read_key_pair(key_file)
        dealer.linger = 0
        dealer.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(remote.server_key))
        dealer.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        dealer.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        dealer.connect(remote.endpoint)
        dealer.send(encode(Kind.HELLO, 0, VERSION, 0, "resuming", resume))
        assert dealer.poll(60_000)
        _, epoch, (_, _, _, session, secret, *_) = decode(dealer.recv(), FROM_GATEWAY)
        return session, [session, secret, epoch, 0, 0]

    # All connections stay open to the end, because a session whose connection has ended is kept for three seconds only.
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        session, resume = welcome(one, None)
        assert welcome(two, resume)[0] != session
        assert welcome(one, resume)[0] == session


Break = Callable[[Path], None]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: (path / "gateway.key").unlink(), "rondo keygen --curve"),
        (lambda path: (path / "gateway.key").chmod(0o644), "others have access"),
        (lambda path: (path / "clients").unlink(), "clients: there is no such file"),
        (lambda path: (path / "clients").chmod(0o666), "others may change who is let in"),
        (lambda path: (path / "clients").write_text("f00 x\n"), "line 1"),
    ],
    ids=["no key", "open key", "no clients", "open clients", "bad clients"],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(
    tmp_path: Path, run_dir: Path, start_gateway: StartGateway, damage: Break, why: str
) -> None:
    curve.write_key_pair(tmp_path / "gateway.key", curve.make_key_pair())
    (tmp_path / "clients").write_text("")
    damage(tmp_path)
    settings = RemoteSettings("127.0.0.1", free_tcp_port(), str(tmp_path / "gateway.key"), str(tmp_path / "clients"))
    gateway = start_gateway(remote=settings)
    assert gateway.process.wait(60) == 8
    (line,) = [line for line in gateway.log.read_text().splitlines() if line.startswith("ipc_gateway: ")]
    assert why in line


def test_a_client_without_keys_is_told_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RONDO_CLIENT_KEY_FILE", raising=False)
    with pytest.raises(rondo.InvalidParameter, match="RONDO_CLIENT_KEY_FILE and RONDO_SERVER_KEY"):
        rondo.connect("tcp://127.0.0.1:1")
    with pytest.raises(rondo.InvalidParameter, match="keys are for a gateway on another host"):
        rondo.connect("ipc:///nowhere", server_key="00")
    curve.write_key_pair(tmp_path / "key", curve.make_key_pair())
    with pytest.raises(rondo.InvalidParameter, match="64 hexadecimal digits"):
        rondo.connect("tcp://127.0.0.1:1", key_file=tmp_path / "key", server_key="00")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "key").write_text("public 00\n")
    with pytest.raises(rondo.InvalidParameter, match="no pair of CURVE keys"):
        rondo.connect("tcp://127.0.0.1:1", key_file=tmp_path / "key", server_key="00" * 32)
    with pytest.raises(rondo.InvalidParameter, match="there is no such file"):
        rondo.connect("tcp://127.0.0.1:1", key_file=tmp_path / "none", server_key="00" * 32)
