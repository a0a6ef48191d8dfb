"""The web server without a node: what it shows, and everything that it refuses."""

import base64
import contextlib
import copy
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.cli.main import main
from rondo.ipc.surveyor import Surveyor
from rondo.metrics.looker import Looker
from rondo.node.placement import NICE
from rondo.node.supervision import processes
from rondo.node.supervision.processes import Found
from rondo.testing.lab.waiting import wait_for
from services.web import limits
from services.web.app import STREAMS_MAX, message
from services.web.guard import Hosts
from services.web.server import Options, WebError, check, hosts_of
from services.web.wire import LOG_LINES_MAX
from tests.unit.metrics.sample import ANSWERS
from tests.unit.web.server import Server, serving

PAGE = Path(__file__).parents[3] / "services/web/page"
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(name="run_dir", scope="module")
def _run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a node that has run, and does not any more."""
    directory = tmp_path_factory.mktemp("run")
    (directory / "log").mkdir()
    (directory / "log/totem.log").write_text("2026-11-22T17:00:00.000+00:00 info    [TOTEM ] Node 3 leaves.\n")
    return directory


@pytest.fixture(name="server", scope="module")
def _server(run_dir: Path) -> Iterator[Server]:
    with serving(run_dir) as server:
        yield server


# -- what it shows


def test_the_page_and_its_files(server: Server) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/plots.js", "text/javascript"),
        ("/log.js", "text/javascript"),
        ("/page.css", "text/css"),
    ):
        status, headers, body = server.get(path)
        assert (status, headers["content-type"].split(";")[0]) == (200, kind)
        assert body == (PAGE / (path[1:] or "index.html")).read_bytes()
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert "date" in headers


def test_the_page_loads_nothing_from_elsewhere_and_writes_no_html() -> None:
    """The address of SVG's name space is none that is loaded."""
    for name in ("index.html", "page.js", "plots.js", "log.js", "page.css", "icon.svg"):
        text = (PAGE / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
        assert not re.search(r"\son[a-z]+=|style=\"|<script>(?!<)", text), name


def test_it_takes_the_processor_that_the_ring_leaves(server: Server) -> None:
    """Its threads, too, for one of them looks."""
    server.get("/api/v1/status")
    threads = [int(each.name) for each in Path(f"/proc/{server.process.pid}/task").iterdir()]
    assert len(threads) > 1
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {wanted}


def test_the_status_of_a_node_that_does_not_run(server: Server) -> None:
    status, headers, body = server.get("/api/v1/status")
    found = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert found["healthy"] is False
    assert found["status"]["state"] == "stopped"
    assert found["nodes"] == found["applications"] == []
    assert server.get("/healthz")[0] == 503


def test_metrics_in_both_formats(server: Server) -> None:
    status, headers, body = server.get("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'rondo_process_up{process="totem"} 0.0' in body
    headers = server.get("/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})[1]
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")


def test_events_come_as_they_happen_and_go_on_after_the_last_one_seen(server: Server, run_dir: Path) -> None:
    with server.events() as stream:
        happened = next(data for name, data in stream if name == "happened")
        assert happened["event"] == "node.leaves"
        assert next(data for name, data in stream if name == "status")["status"]["state"] == "stopped"
        with (run_dir / "log/totem.log").open("a") as file:
            file.write("2026-11-22T17:00:01.000+00:00 error   [TOTEM ] FAILED TO RECEIVE\n")
        later = next(data for name, data in stream if name == "happened")
        assert (later["event"], later["id"]) == ("ring.failed_to_receive", happened["id"] + 1)
    with server.events({"Last-Event-ID": str(happened["id"])}) as stream:
        assert next(data for name, data in stream if name == "happened")["id"] == happened["id"] + 1


def test_the_log_of_a_node_that_does_not_run(tmp_path: Path) -> None:
    """Its end, and no secret in it."""
    (tmp_path / "log").mkdir()
    lines = [f"2026-11-22T17:00:00.000+00:00 info    [TOTEM ] {number} password=correct-horse" for number in range(900)]
    (tmp_path / "log/totem.log").write_text("".join(f"{line}\n" for line in lines))
    with serving(tmp_path) as server:
        status, _, body = server.get("/api/v1/log")
        assert status == 200
        found = json.loads(body)
        assert (found["node"], len(found["lines"])) == (None, LOG_LINES_MAX)
        assert found["lines"][-1]["source"] == "totem"
        assert found["lines"][-1]["text"].endswith("[TOTEM ] 899 password=[left out]")
        assert b"correct-horse" not in body
        for other in ("2", "x", "9" * 30, "-1", ""):
            assert server.get(f"/api/v1/nodes/{other}/log")[0] == 404


def test_a_message_is_one_message_whatever_is_in_it() -> None:
    text = message("happened", {"text": "a\n\ndata: b\r\nevent: c"}, 7)
    assert text.count(b"\n\n") == 1
    assert text.count(b"\ndata: ") == 1
    assert text.startswith(b"id: 7\nevent: happened\ndata: {")


def test_processes_are_found_once_and_again_when_one_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, object] = copy.deepcopy({**ANSWERS})
    finds: list[Path] = []
    really_find = processes.find

    def find(run_dir: Path) -> list[Found]:
        finds.append(run_dir)
        return really_find(run_dir)

    monkeypatch.setattr(Surveyor, "ask", lambda *_: dict(answers))
    monkeypatch.setattr(processes, "find", find)
    eyes = Looker(tmp_path)
    argv = ["sh", "-c", "read line", "-m", "rondo.node.supervision.supervisord"]  # known by its command line
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={processes.MARK: processes.mark(tmp_path)}) as process:
        # The kernel closes the pipe by which Popen knows of the exec before it shows the new command line.
        wait_for(lambda: really_find(tmp_path), bool, "it can be found", 30)
        for _ in range(3):
            assert eyes.see().status["supervisor"] == {"pid": process.pid, "state": "running"}
        assert len(finds) == 1
        answers["cpg"] = None
        assert [eyes.see().status["services"]["cpg"]["state"] for _ in range(2)] == ["restarting"] * 2
        assert len(finds) == 2
        process.kill()
    assert eyes.see().status["supervisor"]["state"] == "stopped"
    eyes.close()


# -- what it refuses


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_it_only_shows(server: Server, method: str) -> None:
    answer = server.raw(f"{method} / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 405 ", b"HTTP/1.1 400 "))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil.example:{port}"])
def test_a_foreign_host(server: Server, host: str) -> None:
    status, _, body = server.get("/metrics", {"Host": host.format(port=server.port)})
    assert status in (400, 421)
    assert b"rondo_" not in body


def test_its_own_names(server: Server) -> None:
    for host in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert server.get("/", {"Host": f"{host}:{server.port}"})[0] == 200


@pytest.mark.parametrize(
    ("headers", "path", "expected"),
    [
        ({"Origin": "http://evil.example"}, "/api/v1/status", 403),
        ({"Origin": "null"}, "/api/v1/status", 403),
        ({"Origin": "http://[bad"}, "/api/v1/status", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "/metrics", 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, "/metrics", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "/metrics", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "/", 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, "/api/v1/status", 200),
    ],
)
def test_what_other_sites_may(server: Server, headers: dict[str, str], path: str, expected: int) -> None:
    assert server.get(path, headers)[0] == expected


def test_its_own_origin(server: Server) -> None:
    assert server.get("/api/v1/status", {"Origin": f"http://127.0.0.1:{server.port}"})[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/page.js/../../process.py", "/%2e%2e/process.py", "//etc/passwd", "/page/index.html",
        "/..\\process.py", "/index.html%00", "/" + "a" * 2000, "/api/v1/status/", "/api", "/process.py",
    ],
)  # fmt: skip
def test_there_is_nothing_else(server: Server, path: str) -> None:
    answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
    assert not answer.startswith(b"HTTP/1.1 200 ")
    assert b"root:" not in answer
    assert b"import" not in answer


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"".join(b"X%d: a\r\n" % number for number in range(10_000)),
        b"\0" * 1000,
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request(server: Server, data: bytes) -> None:
    """A clean refusal, or an end; and the next one is served."""
    answer = server.raw(data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert server.get("/")[0] == 200


def test_connections_on_which_nothing_comes_keep_nobody_out_for_long(server: Server) -> None:
    """More than there is room for, half of them with half a request. They are ended, and everybody else is served."""
    with contextlib.ExitStack() as stack:
        slow = []
        for number in range(limits.CONNECTIONS_MAX + 100):
            made = stack.enter_context(server.connect())
            with contextlib.suppress(ConnectionError):
                made.send(b"GET / HTTP/1.1\r\nX: " if number % 2 else b"")
            slow.append(made)
        until = time.monotonic() + limits.REQUEST_S + 60
        while True:
            with contextlib.suppress(OSError):
                if server.get("/")[0] == 200:
                    break
            assert time.monotonic() < until, "nobody else was served"
        ended = 0
        for made in slow:
            with contextlib.suppress(ConnectionError):
                assert made.recv(100) == b""
            ended += 1
        assert ended == len(slow)


def test_streams_have_a_bound(server: Server) -> None:
    with contextlib.ExitStack() as stack:

        def is_opened() -> bool:
            with contextlib.suppress(AssertionError):
                next(stack.enter_context(server.events()))
                return True
            return False

        for _ in range(STREAMS_MAX):  # one of a former test may not have ended yet
            wait_for(is_opened, bool, "there is room for one more", 30)
        assert server.get("/api/v1/events")[0] == 503
        assert server.get("/metrics")[0] == 200


def test_who_asks_for_the_head_of_a_stream_and_goes_takes_no_place(server: Server) -> None:
    """Without a body nothing was ever written, so that nobody noticed that its client had gone."""
    for _ in range(STREAMS_MAX + 8):
        with server.connect() as stream:
            stream.sendall(b"HEAD /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.port)
            assert stream.recv(65536).startswith(b"HTTP/1.1 200 ")
            stream.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.port)
    with server.events() as events:
        next(events)


def test_streams_that_come_at_once_have_the_same_bound(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(server.connect()) for _ in range(STREAMS_MAX + 20)]
        for each in streams:
            each.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.port)
        answers = [each.recv(65536)[:12] for each in streams]
        assert answers.count(b"HTTP/1.1 200") <= STREAMS_MAX
        assert set(answers) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}


def test_a_stop_with_an_open_stream_says_nothing(run_dir: Path) -> None:
    """The stream was cancelled after two seconds, with a traceback in the log."""
    with contextlib.ExitStack() as stack, serving(run_dir) as server:  # which looks at what the server has said
        for _ in range(3):
            next(stack.enter_context(server.events()))


@pytest.mark.parametrize(
    "tail",
    [b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n", b"\r\nGET \xff\x00", b"\r\nG\xffT / HTTP/1.1\r\n\r\n"],
    ids=["a body", "half a request behind it", "a request behind it"],
)
def test_what_is_no_http_leaves_no_traceback(run_dir: Path, tail: bytes) -> None:
    with serving(run_dir) as server:
        head = b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % server.port
        for cut in (0, len(tail), len(tail) - 1):
            with server.connect() as stream, contextlib.suppress(ConnectionError):
                stream.sendall(head + tail[:cut])
                stream.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    stream.recv(1)
                stream.sendall(tail[cut:])
                with contextlib.suppress(TimeoutError):
                    stream.recv(65536)
        assert server.get("/metrics")[0] == 200
        server.process.terminate()
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()


# -- the token, and where it may listen


@pytest.fixture(name="token_file")
def _token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def test_with_a_token_every_path_needs_it(run_dir: Path, token_file: Path) -> None:
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    wrong = base64.b64encode(f"{TOKEN}:".encode()).decode()
    with serving(run_dir, "--token-file", str(token_file)) as server:
        for path in ("/", "/page.js", "/metrics", "/api/v1/status", "/api/v1/events", "/healthz"):
            status, headers, _ = server.get(path)
            assert (status, headers["www-authenticate"][:5]) == (401, "Basic")
        for good in (f"Bearer {TOKEN}", f"Basic {basic}", f"basic {basic}"):
            assert server.get("/metrics", {"Authorization": good})[0] == 200
        for bad in (f"Bearer {TOKEN}x", f"Basic {wrong}", "Basic ???", "Bearer", f"Digest {TOKEN}", TOKEN):
            assert server.get("/metrics", {"Authorization": bad})[0] == 401


def test_a_token_that_others_can_read(token_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token_file.chmod(0o644)
    assert main(["web", "--token-file", str(token_file)]) == 1
    assert "others have access to the token" in capsys.readouterr().err


def test_a_token_that_is_too_short(token_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token_file.write_text("1234")
    assert main(["web", "--token-file", str(token_file)]) == 1
    assert "at least 16 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "0.0.0.0"}, "everybody on the network could look"),
        ({"host": "::"}, "everybody on the network could look"),
        ({"host": "10.0.0.1", "token": b"x" * 20}, "the token would be read on the way"),
        ({"host": "alpha"}, "no IP address"),
        ({"tls_cert": "cert.pem"}, "go together"),
    ],
)
def test_beyond_loopback_it_needs_a_token_and_tls(tmp_path: Path, options: dict[str, str], why: str) -> None:
    with pytest.raises(WebError, match=why):
        check(Options(tmp_path, **options))  # type: ignore[arg-type]
    check(Options(tmp_path, host="10.0.0.1", token=b"x" * 20, tls_cert="cert.pem", tls_key="key.pem"))


def test_names_that_it_answers_to(tmp_path: Path) -> None:
    assert hosts_of(Options(tmp_path), 5480) == Hosts(frozenset({"127.0.0.1:5480", "localhost:5480", "[::1]:5480"}))
    remote = Options(tmp_path, host="10.0.0.1", names=("Alpha.example",), tls_cert="c", tls_key="k")
    names = {"10.0.0.1:443", "alpha.example:443", "10.0.0.1", "alpha.example"}
    assert hosts_of(remote, 443) == Hosts(frozenset(names))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_on_all_addresses_it_answers_to_any_address_and_to_no_foreign_name(tmp_path: Path, host: str) -> None:
    """What was asked for by an address was not led here by a name."""
    hosts = hosts_of(Options(tmp_path, host=host, names=("alpha.example",)), 5480)
    for good in ("10.0.0.1:5480", "192.168.7.9:5480", "[fd00::1]:5480", "alpha.example:5480"):
        assert good in hosts
    refused = (
        "evil.example:5480", "10.0.0.1", "10.0.0.1:80", "10.0.0.1.evil.example:5480", "[10.0.0.1]:5480",
        "fd00::1:5480", "[fd00::1]", "[evil]:5480", ":5480", "", "[", "]:5480", "10.0.0.1:5480:5480",
    )  # fmt: skip
    assert [bad for bad in refused if bad in hosts] == []
    assert "10.0.0.1" in hosts_of(Options(tmp_path, host=host, tls_cert="c", tls_key="k"), 443)


def test_a_port_that_is_taken(server: Server, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web", "--address", f"127.0.0.1:{server.port}", "--run-dir", str(run_dir)]) == 1
    assert "Address already in use; choose another address or port" in capsys.readouterr().err


def test_tls(run_dir: Path, tmp_path: Path) -> None:
    import ssl
    import urllib.request

    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
        "-days",
        "2",
    ]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*argv, *subject], cwd=tmp_path, check=True, capture_output=True)
    files = ("--tls-cert", str(tmp_path / "c.pem"), "--tls-key", str(tmp_path / "k.pem"))
    with serving(run_dir, *files) as server:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
        url = f"https://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(url, context=trusted, timeout=30) as answer:
            assert b"rondo_process_up" in answer.read()


def test_without_the_package_the_command_names_it(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('No module named uvicorn', name='uvicorn')")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from rondo.cli.main import main; sys.exit(main(['web']))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: the package uvicorn is missing; pip install 'rondo[web]'\n"
