"""What is said to somebody who has written something else than was meant."""

import pytest

from tests.unit.config.test_checks import NODES, errors, totem, warnings


def nodes_with(line: str) -> str:
    return NODES.replace("  nodeid: 1\n", f"  nodeid: 1\n  {line}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (totem(nodes=nodes_with("id: 1")), "nodelist.node.id: is not known and has no effect; did you mean 'nodeid'?"),
        (totem(nodes=nodes_with("node_id: 1")), "did you mean 'nodeid'?"),
        (totem(nodes=nodes_with("addr: 10.0.0.1")), "did you mean 'ring0_addr'?"),
        (totem(nodes=nodes_with("ip: 10.0.0.1")), "did you mean 'ring0_addr'?"),
        (totem(nodes=nodes_with("hostname: a")), "did you mean 'name'?"),
        (totem("interface {", "port: 5405", "}"), "did you mean 'mcastport'?"),
        (
            totem("mcastport: 5405"),
            "totem.mcastport: is not known and has no effect; it belongs into totem.interface {}",
        ),
        (totem("logfile: /x"), "it belongs into logging {} or logging.logger_subsys {}"),
        (totem("interface {", "transport: udp", "}"), "it belongs into totem {}"),
        (totem() + "token: 1000\n", "token: is not known and has no effect; it belongs into totem {}"),
        (totem() + "interface {\n}\n", "interface: is not a known section and has no effect; it belongs into totem {}"),
        (totem() + "node {\n}\n", "it belongs into nodelist {}"),
        (
            totem("logging {", "}"),
            "totem.logging: is not a known section and has no effect; it belongs into no section",
        ),
        (totem("interfaces {", "}"), "did you mean 'interface'?"),
        (totem() + "logging {\n log_file: /x\n}\n", "did you mean 'logfile'?"),
        (totem("e: 1"), "totem.e: is not known and has no effect"),
    ],
)
def test_a_name_that_is_not_known(text: str, message: str) -> None:
    (warning,) = warnings(text)
    assert warning.endswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "prod # main",
            "everything behind the colon is the value, '# main' too; a comment must have a line of its own",
        ),
        ("prod // main", "'// main' too; a comment must have a line of its own"),
        ('"prod"', "the quotes are a part of the value; remove them"),
        ("'prod'", "the quotes are a part of the value; remove them"),
        ("prod;", "the semicolon is a part of the value; remove it"),
    ],
)
def test_a_text_that_is_taken_as_it_stands(value: str, message: str) -> None:
    (warning,) = warnings(totem(f"cluster_name: {value}"))
    assert warning.startswith("f:3: totem.cluster_name: ")
    assert message in warning


@pytest.mark.parametrize("value", ["a#b", "http://x", "it's", "a;b"])
def test_a_text_with_a_mark_inside_is_quite_usual(value: str) -> None:
    assert warnings(totem(f"cluster_name: {value}")) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["secauth: off # plain"], "'off # plain' is neither yes nor no, a comment must have a line of its own"),
        (["token: 1000 # ms"], "is not a whole number, a comment must have a line of its own"),
        (["token: 1000;"], "is not a whole number, a line has no semicolon at its end"),
        (['token: "1000"'], "is not a whole number, a value has no quotes"),
        (["ip_version: ipv4 # old"], "is not possible, a comment must have a line of its own"),
        (["crypto_cipher: aes256 // x"], "is not possible, a comment must have a line of its own"),
        (["interface {", "mcastport: 5405 #", "}"], "a comment must have a line of its own"),
    ],
)
def test_a_comment_behind_a_value_that_cannot_be_used(lines: list[str], message: str) -> None:
    assert message in errors(totem(*lines))[0]


def test_a_comment_behind_an_address() -> None:
    found = errors(totem(nodes=NODES.replace("10.0.0.2", "10.0.0.2 # second")))[0]
    assert "is neither an address nor a host name, a comment must have a line of its own" in found


def test_a_secret_is_not_shown_by_the_advice() -> None:
    key = "k" * 140
    assert all("kkk" not in warning for warning in warnings(totem(f"key: {key}")))
