"""services/web/openapi.json is true: every path is in it, and every answer is as it says. (Of a cluster that runs:
tests/cluster/test_web.py.)"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rondo.ipc.surveyor import Surveyor
from rondo.metrics.looker import Looker
from services.web.app import FILES, make_app
from services.web.figures import figures_of
from services.web.peers import Peers
from tests.unit.metrics.sample import ANSWERS
from tests.unit.web.schema import DOCUMENT, faults, named, schema_of
from tests.unit.web.server import Server, serving


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of a node that does not run."""
    directory = tmp_path_factory.mktemp("run")
    (directory / "log").mkdir()
    (directory / "log/totem.log").write_text("2026-11-22T17:00:00.000+00:00 info    [TOTEM ] Node 3 leaves.\n")
    with serving(directory) as server:
        yield server


def test_every_path_is_in_it_and_no_other(tmp_path: Path) -> None:
    app = make_app(Looker(tmp_path), Peers(), tmp_path)
    assert {route.path for route in app.routes} - FILES.keys() == DOCUMENT["paths"].keys()  # type: ignore[attr-defined]


def test_it_is_served_as_it_is(server: Server) -> None:
    assert json.loads(server.get("/api/v1/openapi.json")[2]) == DOCUMENT


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                yield from references(each)

    found = {each.removeprefix("#/components/schemas/") for each in references(DOCUMENT)}
    named_in_texts = {"StatusWithOthers", "Happened"}
    assert found | named_in_texts == DOCUMENT["components"]["schemas"].keys()


@pytest.mark.parametrize("path", ["/api/v1/status", "/api/v1/cluster", "/api/v1/log"])
def test_what_a_node_that_does_not_run_answers(server: Server, path: str) -> None:
    status, headers, body = server.get(path)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert faults(json.loads(body), schema_of(path)) == []


def test_whether_it_is_well(server: Server) -> None:
    status, _, body = server.get("/healthz")
    assert status == 503
    assert faults(body.decode(), schema_of("/healthz", "503")) == []


def test_events(server: Server) -> None:
    with server.events() as stream:
        found = dict(next(stream) for _ in range(2))
    assert faults(found["status"], named("StatusWithOthers")) == []
    assert faults(found["happened"], named("Happened")) == []


def test_a_node_with_links_quorum_and_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Surveyor, "ask", lambda *_: copy.deepcopy({**ANSWERS}))
    looker = Looker(tmp_path)
    status = looker.status()
    looker.close()
    assert status["status"]["quorum"]["quorate"] is True
    assert faults(status, schema_of("/api/v1/status")) == []
    told = {"node": 1, "age_seconds": 0.0, **figures_of(status).as_json()}
    assert faults({"schema": 1, "node": 1, "time": "", "nodes": [told]}, schema_of("/api/v1/cluster")) == []


def test_what_is_not_as_it_says_is_found() -> None:
    schema = named("Member")
    assert faults({"node": 1, "pid": 2}, schema) == []
    assert faults({"node": 1}, schema) == ["$: pid is missing"]
    assert faults({"node": 1, "pid": "2"}, schema) == ["$.pid: '2' is not integer"]
    assert faults({"node": 1, "pid": True}, schema) == ["$.pid: True is not integer"]
    assert faults({"node": 1, "pid": 2, "uid": 3}, schema) == ["$: uid is not in the document"]
