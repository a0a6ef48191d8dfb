"""Checks of votes and of votequorum's options. Corosync's errors are errors; what Corosync corrects is a warning."""

from collections.abc import Iterator

from rondo.config.faults import Fault
from rondo.config.loaded import Loaded
from rondo.config.schema_quorum import VOTES_MAX


def check_quorum(loaded: Loaded) -> Iterator[Fault]:
    """Faults of quorum{} and of the votes of the nodelist."""
    config = loaded.config
    if config.quorum.provider is None:
        if loaded.given("quorum"):
            mend = "write provider: corosync_votequorum, or remove the section"
            yield loaded.fault("warning", ("quorum",), "has no effect: there is no provider", mend)
        return
    votes = sum(node.quorum_votes for node in config.nodelist.node)
    if not config.quorum.expected_votes and not votes:
        path = ("nodelist",) if config.nodelist.node else ("quorum",)
        yield loaded.fault("error", path, "nobody has a vote", "list the nodes, or write expected_votes")
    if votes > VOTES_MAX:
        why = f"the nodes have {votes} votes together; more than {VOTES_MAX} cannot be counted"
        yield loaded.fault("error", ("nodelist",), why, "write smaller quorum_votes")
    yield from _combinations(loaded, config.quorum.expected_votes or votes)


def _combinations(loaded: Loaded, expected_votes: int) -> Iterator[Fault]:
    """Combinations of options, by Corosync's rules."""
    quorum = loaded.config.quorum
    waits = quorum.two_node if quorum.wait_for_all is None else quorum.wait_for_all
    breaks_ties = quorum.auto_tie_breaker
    if breaks_ties and not _names_nodes(quorum.auto_tie_breaker_node):
        why = "names no node: auto_tie_breaker is off"
        mend = "write lowest, highest, or node ids separated by blanks"
        yield loaded.fault("warning", ("quorum", "auto_tie_breaker_node"), why, mend)
        breaks_ties = False
    if breaks_ties and quorum.two_node:
        why = "does not go with auto_tie_breaker: two_node is off"
        yield loaded.fault("warning", ("quorum", "two_node"), why, "remove one of them")
    if breaks_ties and expected_votes % 2 and not waits:
        path = ("quorum", "auto_tie_breaker")
        if quorum.last_man_standing:
            why = "with an odd number of votes and last_man_standing it needs wait_for_all: 1"
            yield loaded.fault("error", path, why, "write that, or remove one of them")
        else:
            why = "with an odd number of votes it needs wait_for_all: 1, and is off without"
            yield loaded.fault("warning", path, why, "write that, or remove it")
    if quorum.last_man_standing and any(node.quorum_votes > 1 for node in loaded.config.nodelist.node):
        why = "is off as soon as a node with more than one vote is heard of"
        yield loaded.fault("warning", ("quorum", "last_man_standing"), why, "give every node one vote, or remove it")


def _names_nodes(text: str) -> bool:
    words = text.split()
    are_ids = bool(words) and all(word.isascii() and word.isdigit() and 0 < int(word) < 1 << 32 for word in words)
    return text.strip() in ("lowest", "highest") or are_ids
