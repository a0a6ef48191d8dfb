"""The replicas of the ledger: whatever happens to the nodes, no transfer that is done is lost or doubled."""

import pytest

import rondo
from rondo.demo.proof import prove
from rondo.demo.replicated_ledger import ACCOUNTS, INITIAL_BALANCE, Ledger
from tests.unit.demo.group_model import Group

TOTAL = len(ACCOUNTS) * INITIAL_BALANCE


def wish(transfer_id: str, amount: int) -> dict[str, object]:
    return {"do": "transfer", "id": transfer_id, "from": "anna", "to": "bert", "amount": amount}


def test_a_transfer_is_carried_out_once() -> None:
    ledger = Ledger()
    for _ in range(2):
        ledger.transfer(wish("1.a.1", 300))
    assert ledger.balances["anna"] == INITIAL_BALANCE - 300
    assert ledger.balances["bert"] == INITIAL_BALANCE + 300
    assert ledger.history == ["1.a.1"]


def test_an_account_is_not_overdrawn() -> None:
    ledger = Ledger()
    ledger.transfer(wish("1.a.1", INITIAL_BALANCE + 1))
    assert set(ledger.balances.values()) == {INITIAL_BALANCE}
    assert "1.a.1" in ledger, "refused, and that is final"


def test_the_fingerprint_tells_other_orders_apart() -> None:
    ledgers = []
    for order in ("1", "2"), ("2", "1"):
        ledgers.append(Ledger())
        for transfer_id in order:
            ledgers[-1].transfer(wish(transfer_id, 1))
    one, other = ledgers
    assert one.balances == other.balances
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint() == Ledger(dict(one.balances), one.history).fingerprint()


def started(nodes: int, seed: int = 0) -> Group:
    group = Group(nodes, seed)
    group.settle()
    return group


def test_a_ledger_begins_only_when_all_nodes_are_there() -> None:
    group = Group(3, seed=0)
    group.start(1)
    group.start(2)
    group.merge(*group.components)
    while group.components[0].queue:
        group.deliver(group.components[0])
    assert all(replica.ledger is None for replica in group.replicas.values())
    group.settle()
    assert all(replica.ledger is not None for replica in group.replicas.values())


def test_a_newcomer_gets_the_ledger_and_what_came_meanwhile() -> None:
    group = started(3)
    first, second, third = sorted(group.replicas)
    group.wish_transfer(first)
    group.settle()
    group.kill(third)
    group.start(3)
    group.wish_transfer(second)
    group.merge(group.component_of(first), group.component_of(new := newest(group)))
    group.wish_transfer(first)
    group.settle()
    ledger, of_first = group.replicas[new].ledger, group.replicas[first].ledger
    assert ledger is not None
    assert of_first is not None
    assert len(ledger.history) == 3
    assert ledger.fingerprint() == of_first.fingerprint()


def newest(group: Group) -> rondo.Member:
    return max(group.replicas, key=lambda member: member.pid)


def test_the_death_of_the_one_that_would_send_the_ledger_only_delays_it() -> None:
    group = started(3)
    first, _, third = sorted(group.replicas)
    group.kill(third)
    group.start(3)
    component = group.component_of(first)
    group.merge(component, group.component_of(newest(group)))
    while group.replicas[first].ledger is not None and not any(b'"ledger"' in data for _, data in component.queue):
        group.deliver(component)
    component.queue.clear()  # the ledger dies with its sender
    group.kill(first)
    group.settle()
    assert group.replicas[newest(group)].ledger is not None
    assert len({replica.ledger.fingerprint() for replica in group.replicas.values() if replica.ledger}) == 1


def test_the_minority_stops_and_does_not_confirm() -> None:
    group = started(3)
    third = sorted(group.replicas)[2]
    group.wish_transfer(third)
    group.split(group.component_of(third), {third})
    assert group.replicas[third].ledger is None
    assert group.confirmed == []
    group.settle()
    assert len(group.confirmed) == 1, "sent again after the merge"


@pytest.mark.parametrize(("present", "goes_on"), [({1, 2}, True), ({3, 4}, False)])
def test_of_equal_halves_the_one_with_the_lowest_node_goes_on(present: set[int], goes_on: bool) -> None:
    group = started(4)
    part = {member for member in group.replicas if member.node in present}
    group.split(group.components[0], part)
    assert all((group.replicas[each].ledger is not None) is goes_on for each in part)


def test_a_lost_connection_is_survived() -> None:
    """The node's ring process died; the client library tells so and joins the group again."""
    group = started(3)
    first = min(group.replicas)
    group.wish_transfer(first)
    group.components[0].queue.clear()  # the transfer was never sent
    group.tell(first, rondo.Disconnected("totem has died"), rondo.UnknownOutcome((1,)))
    assert group.replicas[first].ledger is None
    group.tell(first, rondo.Reconnected())
    group.settle()
    assert len(group.confirmed) == 1
    check(group)


def test_a_ledger_that_all_have_put_aside_is_taken_up_again() -> None:
    """No part of the nodes was a majority for a while."""
    group = started(3)
    first, second, third = sorted(group.replicas)
    group.wish_transfer(first)
    group.settle()
    group.split(group.components[0], {third})
    group.wish_transfer(first)
    group.deliver(group.component_of(first))
    group.split(group.component_of(first), {first})
    assert all(replica.ledger is None for replica in group.replicas.values())
    group.merge(group.component_of(second), group.component_of(third))
    while group.component_of(second).queue:
        group.deliver(group.component_of(second))
    ledger = group.replicas[third].ledger
    assert ledger is not None, "two of three have one aside"
    assert len(ledger.history) == 2, "the later one is taken"
    group.settle()
    check(group)


def test_those_who_have_nothing_wait_for_those_who_may_have_more() -> None:
    group = started(3)
    first, second, third = sorted(group.replicas)
    group.wish_transfer(first)
    group.settle()
    for each in (second, third):
        group.kill(each)
        group.start(each.node)
    two = [each for each in group.components if first not in each.members]
    group.merge(*two)
    while two[0].queue:
        group.deliver(two[0])
    assert all(group.replicas[each].ledger is None for each in two[0].members)
    group.settle()
    check(group)
    assert len(group.confirmed) == 1


def check(group: Group) -> None:
    """All replicas agree, and everything that must hold at the end of the demo holds."""
    reports = {}
    for member, replica in group.replicas.items():
        assert replica.ledger is not None, f"{member} has no ledger"
        reports[member.node] = {"balances": replica.ledger.balances, "history": replica.ledger.history}
    broken = [claim.text for claim in prove(reports, {"all": group.confirmed or ["none"]}, TOTAL) if not claim.holds]
    if not group.confirmed:
        broken = [text for text in broken if "reported as done" not in text]
    assert broken == []
    assert all(replica.unconfirmed == 0 for replica in group.replicas.values())


def nothing_is_forgotten_without(group: Group, member: rondo.Member) -> bool:
    """Whether another replica knows all that was reported as done: the ledger is in memory alone."""
    others = [replica for each, replica in group.replicas.items() if each != member]
    ledgers = [replica.ledger or replica.aside for replica in others]
    return any(set(group.confirmed) <= set(ledger.history) for ledger in ledgers if ledger is not None)


def one_step(group: Group) -> None:
    """Something that can happen, chosen at random."""
    chance = group.random
    component = chance.choice(group.components)
    member = chance.choice(sorted(component.members))
    match chance.choices(("deliver", "transfer", "merge", "kill", "split", "start"), (60, 25, 6, 3, 3, 6))[0]:
        case "deliver" if component.queue:
            group.deliver(component)
        case "transfer":
            group.wish_transfer(member)
        case "merge" if len(group.components) > 1:
            group.merge(*chance.sample(group.components, 2))
        case "kill" if nothing_is_forgotten_without(group, member):
            group.kill(member)
        case "split" if len(component.members) > 1:
            part = set(chance.sample(sorted(component.members), chance.randint(1, len(component.members) - 1)))
            group.split(component, part)
        case "start" if missing := [node for node in sorted(group.nodes) if group.member_on(node) is None]:
            group.start(chance.choice(missing))


@pytest.mark.parametrize("nodes", [2, 3, 4, 5])
def test_whatever_happens_nothing_is_lost_or_doubled(nodes: int) -> None:
    for seed in range(50):
        group = started(nodes, seed)
        for _ in range(300):
            one_step(group)
        group.settle()
        check(group)
