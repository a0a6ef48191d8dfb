"""Clients that wait for a node that is away, more than a user has inotify instances. `make waiting` has a thousand."""

import pytest

from tests.cluster import waiting


@pytest.mark.slow
def test_many_clients_wait_at_no_cost_and_all_come_back() -> None:
    assert waiting.run(300, 5.0) == 0
