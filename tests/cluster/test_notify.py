"""notify{} on a node of two: it is told of the other's end, and a command that hangs hurts nobody."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import rondo
from rondo.config.node import NotifySettings
from rondo.demo.cluster import DemoCluster
from rondo.node.supervision import survey
from rondo.sam.commands import Sam
from rondo.testing.lab.waiting import wait_for

SECONDS = 60.0


def command(directory: Path, text: str) -> str:
    path = directory / "command"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_it_is_told_of_rings_and_the_stop_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    output = tmp_path / "told"
    output.touch()

    def told() -> list[Any]:
        return [json.loads(line) for line in output.read_text().splitlines()]

    with DemoCluster(2) as cluster:
        node = cluster.nodes[1]
        settings = NotifySettings(command=command(tmp_path, f'cat >> "{output}"'), kinds=("node",))
        node.config = dataclasses.replace(node.config, notify=settings)
        cluster.start()
        wait_for(told, lambda events: any(each["event"] == "node.started" for each in events), "its start", SECONDS)
        # Node 2 has to be a member before its end can be told.
        wait_for(told, lambda events: any(2 in each["detail"].get("joined", ()) for each in events), "node 2", SECONDS)
        os.kill(survey.status(node.run_dir)["services"]["notify"]["pid"], signal.SIGKILL)
        cluster.nodes[2].kill()
        wait_for(
            told, lambda events: any(each["detail"].get("left") == [2] for each in events), "the end of 2", SECONDS
        )
        node.stop()
        assert "node.stopping" in [each["event"] for each in told()], "it is told of its own node's stop"
        assert {each["kind"] for each in told()} == {"node"}
        assert {each["node"] for each in told()} == {1}


def test_it_is_told_of_quorum_and_applications(tmp_path: Path) -> None:
    """Of quorum that is lost and comes back, and of an application that runs and is stopped; of nothing else."""
    output = tmp_path / "told"
    output.touch()

    def told() -> list[str]:
        return [json.loads(line)["event"] for line in output.read_text().splitlines()]

    with DemoCluster(2) as cluster:
        node = cluster.nodes[1]
        settings = NotifySettings(command=command(tmp_path, f'cat >> "{output}"'), kinds=("quorum", "application"))
        node.config = dataclasses.replace(node.config, notify=settings)
        cluster.start()
        wait_for(told, lambda events: "quorum.gained" in events, "quorum", SECONDS)
        with Sam(node.endpoint) as sam:
            application = sam.run(["sleep", "600"])["id"]
            wait_for(told, lambda events: "application.started" in events, "the application", SECONDS)
            sam.stop(application)
            wait_for(told, lambda events: "application.event" in events, "the application's end", SECONDS)
        cluster.nodes[2].kill()
        wait_for(told, lambda events: events[-1] == "quorum.lost", "the loss of quorum", SECONDS)
        cluster.nodes[2].launch()
        cluster.nodes[2].wait_until_ready()
        wait_for(told, lambda events: events[-1] == "quorum.gained", "its return", SECONDS)
        assert {each.partition(".")[0] for each in told()} == {"quorum", "application"}


def test_a_command_that_hangs_hurts_nobody(tmp_path: Path) -> None:
    with DemoCluster(1) as cluster:
        node = cluster.nodes[1]
        settings = NotifySettings(command=command(tmp_path, "sleep 1000"), timeout_ms=600_000)
        node.config = dataclasses.replace(node.config, notify=settings)
        cluster.start()
        waits = wait_for(
            lambda: survey.ask_one(node.run_dir, "notify"), lambda told: bool(told and told["waiting"]), "it", SECONDS
        )
        assert waits is not None
        with rondo.connect(node.endpoint, timeout=SECONDS) as client:
            group = client.cpg.join("bank")
            group.mcast(b"deposit 10").ordered(timeout=SECONDS)
        wait_for(lambda: survey.status(node.run_dir), survey.is_healthy, "all services answer", SECONDS)
        node.stop()
        assert survey.status(node.run_dir)["services"]["notify"]["state"] == "stopped"
