"""web{}: what is refused, what is warned of, and where its files lie."""

from pathlib import Path

import pytest

from rondo.config import load
from rondo.config.checks_machine import check_machine
from rondo.config.node import WebSettings
from rondo.config.reader import load_text
from rondo.config.resolver import resolve_as_first_node
from tests.unit.config.test_checks import errors, totem


def web(*lines: str) -> str:
    return totem() + "web {\n" + "".join(f" {line}\n" for line in lines) + "}\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["address: 10.0.0.1"], "everybody on the network could look; write token_file or tls_clients"),
        (["address: ::"], "everybody on the network could look"),
        (["address: 10.0.0.1", "token_file: t"], "the token would be read on the way; write tls_cert and tls_key"),
        (["tls_cert: c"], "web.tls_cert: needs tls_key; write tls_key too"),
        (["tls_key: k"], "web.tls_key: needs tls_cert"),
        (["tls_clients: ca"], "certificates of clients are asked for with TLS alone"),
        (["address: alpha"], "'alpha' is not an IP address"),
        (["port: 0"], "'0' is out of bounds"),
    ],
)
def test_what_is_refused(lines: list[str], message: str) -> None:
    assert any(message in each for each in errors(web(*lines)))


@pytest.mark.parametrize("who", ["token_file: t", "tls_clients: ca"])
def test_beyond_loopback_with_tls_and_either_of_two(who: str) -> None:
    load_text(web("address: 10.0.0.1", who, "tls_cert: c", "tls_key: k"), "f")


def test_without_the_section_there_is_no_page_and_files_lie_beside_the_file(tmp_path: Path) -> None:
    assert resolve_as_first_node(load_text(totem(), "f")).web == WebSettings()
    path = tmp_path / "corosync.conf"
    path.write_text(web("names: alpha  beta.example", "token_file: t", "tls_cert: /c", "tls_key: k"))
    loaded = load(path)
    node = resolve_as_first_node(loaded)
    assert node.web == WebSettings(
        enabled=True,
        names=("alpha", "beta.example"),
        token_file=f"{tmp_path}/t",
        tls_cert="/c",
        tls_key=f"{tmp_path}/k",
    )
    (tmp_path / "t").write_text("x")
    told = [str(each) for each in check_machine(loaded, node, [])]
    assert [each for each in told if ": web." in each] == [
        f"{path}:17: web.tls_cert: /c: cannot be read; make it, or name another file",
        f"{path}:18: web.tls_key: {tmp_path}/k: cannot be read; make it, or name another file",
    ]
