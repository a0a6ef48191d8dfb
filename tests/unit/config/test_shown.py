"""web{} and notify{}: what is refused, what is warned of, and where files lie."""

from pathlib import Path

import pytest

from rondo.config import load
from rondo.config.checks_machine import check_machine
from rondo.config.node import NodeConfig, NotifySettings, WebSettings
from rondo.config.reader import load_text
from rondo.config.resolver import resolve_as_first_node
from rondo.config.show import as_dict, as_text
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


def notify(*lines: str) -> str:
    return totem() + "notify {\n" + "".join(f" {line}\n" for line in lines) + "}\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "notify: there is no receiver; write a command or a webhook"),
        (["command: tell"], "notify.command: 'tell' is no absolute path"),
        (["command: /bin/true", "webhook: http://h/"], "notify.webhook: there is a command too"),
        (["webhook: ftp://h/"], "notify.webhook: is no address"),
        (["command: /bin/true", "kinds: node, fire"], "'node, fire' is not a list of node, quorum"),
        (["command: /bin/true", "timeout: 99"], "'99' is out of bounds"),
    ],
)
def test_what_is_refused_of_notify(lines: list[str], message: str) -> None:
    assert any(message in each for each in errors(notify(*lines)))


def test_who_is_told_of_what(tmp_path: Path) -> None:
    loaded = load_text(notify("command: /no/such", "kinds: quorum,link quorum", "timeout: 500"), "f")
    node = resolve_as_first_node(loaded)
    assert node.notify == NotifySettings(command="/no/such", kinds=("quorum", "link"), timeout_ms=500)
    assert any("/no/such: is no program" in str(each) for each in check_machine(loaded, node, []))


def test_the_address_of_a_webhook_is_not_shown() -> None:
    loaded = load_text(notify("webhook: https://hooks.example/secret-token"), "f")
    node = resolve_as_first_node(loaded)
    assert node.notify.webhook == "https://hooks.example/secret-token"
    assert "secret-token" not in as_text(loaded, node) + str(as_dict(loaded, node)) + repr(node)
    assert NodeConfig.from_msgpack(node.to_msgpack()) == node
