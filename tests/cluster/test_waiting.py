"""Clients that wait for a node that is away, more than a user has inotify instances. `make waiting` has a thousand."""

from tests.cluster import waiting


def test_many_clients_wait_at_no_cost_and_all_come_back() -> None:
    assert waiting.run(300, 5.0) == 0
