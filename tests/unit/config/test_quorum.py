"""quorum{} as it is written, refused and handed on."""

import pytest

from rondo.config.node import NodeConfig, QuorumSettings
from rondo.config.reader import load_text
from rondo.config.resolver import resolve_as_first_node
from tests.unit.config.machines import FakeMachine
from tests.unit.config.test_checks import errors, totem, warnings

VOTING = "quorum {\nprovider: corosync_votequorum\n"


def quorum(text: str) -> NodeConfig:
    return resolve_as_first_node(load_text(text, "f"), FakeMachine())


def test_without_a_provider_there_is_no_quorum() -> None:
    assert quorum(totem()).quorum == QuorumSettings(node_votes={1: 1, 2: 1})
    assert ["there is no provider" in each for each in warnings(totem() + "quorum {\ntwo_node: 1\n}")] == [True]


def test_all_options_are_handed_on_and_survive_the_file() -> None:
    options = """two_node: 1
expected_votes: 5
votes: 2
last_man_standing: 1
last_man_standing_window: 20000
auto_tie_breaker: 1
auto_tie_breaker_node: 2 1
allow_downscale: 1
expected_votes_tracking: 1
}
"""
    node = quorum(totem() + VOTING + options)
    assert node.quorum == QuorumSettings(
        True, 5, 2, {1: 1, 2: 1}, True, True, True, 20_000, True, "2 1", True, True
    )  # fmt: skip
    assert NodeConfig.from_msgpack(node.to_msgpack()) == node
    assert not quorum(totem() + VOTING + "two_node: 1\nwait_for_all: 0\n}").quorum.wait_for_all


def test_votes_are_those_of_the_nodelist() -> None:
    nodes = "nodelist {\nnode {\nnodeid: 1\nring0_addr: 10.0.0.1\nquorum_votes: 0\nname: a\n}\n" \
        "node {\nnodeid: 2\nring0_addr: 10.0.0.2\nquorum_votes: 3\n}\n}\n"  # fmt: skip
    node = quorum(totem(nodes=nodes) + VOTING + "}")
    assert (node.quorum.node_votes, node.node_names) == ({1: 0, 2: 3}, {1: "a"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VOTING + "two_node: yes\n}", "quorum.two_node: 'yes' is neither 1 nor 0; write 1 or 0"),
        (VOTING + "expected_votes: 256\n}", "'256' is out of bounds"),
        ("quorum {\nprovider: corosync_ykd\n}", "'corosync_ykd' is not supported; write corosync_votequorum"),
        ("quorum {\nprovider: other\n}", "'other' is not possible; write one of corosync_votequorum"),
        (VOTING + "device {\nmodel: net\n}\n}", "quorum.device: Rondo asks no quorum device"),
    ],
)
def test_wrong_values(text: str, message: str) -> None:
    assert message in errors(totem() + text)[0]


def test_somebody_must_have_a_vote_and_not_too_many() -> None:
    nodes = "nodelist {\nnode {\nnodeid: 1\nring0_addr: 10.0.0.1\nquorum_votes: %d\n}\n" \
        "node {\nnodeid: 2\nring0_addr: 10.0.0.2\nquorum_votes: %d\n}\n}\n"  # fmt: skip
    assert "nobody has a vote; list the nodes" in errors(totem(nodes=nodes % (0, 0)) + VOTING + "}")[0]
    assert "256 votes together" in errors(totem(nodes=nodes % (128, 128)) + VOTING + "}")[0]


ODD = "expected_votes: 3\nauto_tie_breaker: 1\n"


def test_a_combination_that_corosync_refuses_is_refused() -> None:
    (found,) = errors(totem() + VOTING + ODD + "last_man_standing: 1\n}")
    assert (
        "quorum.auto_tie_breaker: with an odd number of votes and last_man_standing it needs wait_for_all: 1" in found
    )
    assert warnings(totem() + VOTING + ODD + "last_man_standing: 1\nwait_for_all: 1\n}") == []
    assert warnings(totem() + VOTING + "auto_tie_breaker: 1\nlast_man_standing: 1\n}") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ODD, "quorum.auto_tie_breaker: with an odd number of votes it needs wait_for_all: 1, and is off without"),
        ("auto_tie_breaker: 1\ntwo_node: 1\n", "quorum.two_node: does not go with auto_tie_breaker: two_node is off"),
        ("auto_tie_breaker: 1\nauto_tie_breaker_node: first\n", "names no node: auto_tie_breaker is off"),
    ],
)
def test_what_corosync_corrects_is_told(options: str, message: str) -> None:
    assert any(message in each for each in warnings(totem() + VOTING + options + "}"))


def test_heavy_nodes_end_the_last_man_standing() -> None:
    nodes = "nodelist {\nnode {\nnodeid: 1\nring0_addr: 10.0.0.1\nquorum_votes: 2\n}\n}\n"
    found = warnings(totem(nodes=nodes) + VOTING + "last_man_standing: 1\n}")
    assert any("quorum.last_man_standing: is off as soon as" in each for each in found)
