"""The short form of `make sam-chaos`: one live instance of each at every moment, whoever is killed."""

import os

from tests.sam import chaos
from tests.sam.bench import Bench


def test_one_live_instance_of_each_whoever_is_killed(bench: Bench) -> None:
    arguments = ["--applications", "30", "--seconds", "4", "--idle-seconds", "0", "--kill-sam-every", "2"]
    report = chaos.run(bench, chaos.parser().parse_args(arguments))
    print(report)
    assert report.kills > 5
    assert report.kills_of_sam > 0
    assert report.restarts > 0
    assert report.doubles == 0
    assert report.live_instances == {1: 30}
    assert report.zombies == 0
    if os.geteuid() == 0:  # SAM's own user may not look
        assert report.descriptors_leaked == {"sam": 0, "keeper": 0}
