"""The options of quorum{}: which part of a split cluster may act (votequorum(5))."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from rondo.config.option import Accepts, Number, Section, Word, option

U32_MAX = 2**32 - 1
VOTES_MAX = 255
"""Corosync counts quorum in eight bits."""


def _switch(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in ("0", "1"):
        raise ValueError("is neither 1 nor 0")
    return value == "1"


Switch = Annotated[bool, BeforeValidator(_switch), Accepts("1 or 0")]
MaybeSwitch = Annotated[bool | None, BeforeValidator(_switch), Accepts("1 or 0")]


class Quorum(Section):
    """Which part of a split cluster may act. The rules are those of Corosync's votequorum, and nodes of both kinds
    count together. CPG works without quorum: a program that must not act without it has to ask."""

    provider: Literal["corosync_votequorum"] | None = option(
        None,
        "Count votes. Without it nothing counts votes: every side of a split counts as quorate.",
        refused={"corosync_ykd": "write corosync_votequorum"},
    )
    expected_votes: Number = option(
        0, "Votes of all nodes together. 0: the sum of the nodelist. Needed without a nodelist.", ge=0, le=VOTES_MAX
    )
    votes: Number = option(1, "Votes of this node, if there is no nodelist.", ge=0, le=VOTES_MAX)
    two_node: Switch = option(
        False,
        "For two nodes: one vote is enough for quorum. After a split both nodes go on, so this needs fencing, or a "
        "third vote.",
    )
    wait_for_all: MaybeSwitch = option(
        None, "After a start the node is not quorate before all nodes were present once.", derived="as two_node"
    )
    last_man_standing: Switch = option(
        False,
        "Some time after nodes were lost without losing quorum, lower expected votes to the votes that are present.",
    )
    last_man_standing_window: Number = option(
        10_000,
        "The time for last_man_standing.",
        unit="ms",
        ge=1,
        le=24 * 60 * 60 * 1000,
        node="last_man_standing_window_ms",
    )
    auto_tie_breaker: Switch = option(
        False, "Exactly half of the votes is enough for the half that contains the tie breaker node."
    )
    auto_tie_breaker_node: Word = option("lowest", "lowest, highest, or node ids separated by blanks.")
    allow_downscale: Switch = option(
        False, "Nodes that leave in order lower the expected votes. Switches expected_votes_tracking on."
    )
    expected_votes_tracking: Switch = option(
        False, "Remember the highest expected votes ever seen, also after a restart."
    )
