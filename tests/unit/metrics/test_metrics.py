"""From what services say to the text that Prometheus reads; the declarations, their document, alerts and dashboard."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as classic_families

from rondo.cli.main import main
from rondo.metrics import events, processes, ring
from rondo.metrics.collect import METRICS, collect
from rondo.metrics.metric import Histogram, Kind, Metric, Values
from rondo.metrics.reference import reference
from rondo.metrics.render import render
from rondo.metrics.seen import usage_of
from services.totem.ring.rotation_times import BOUNDS, RotationTimes
from tests.unit.metrics.sample import ANSWERS, COUNTERS, seen
from tests.unit.node.supervision.test_optional import configured

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"
PREFIXES = {"knet": "knet_", "security": "security_", "cpg": "cpg_"}
"""By package: the prefix of its counters."""
CALLS_A_SERIES_MAX = 6.0
_COUNTED = re.compile(r'counters\["([a-z_]+)"\]')
_NAME = re.compile(r"\b(?:rondo|ha_cluster)_[a-z_]+\b")


def lines() -> list[str]:
    """The sample as text, without comments."""
    return [line for line in render(collect(seen())).decode().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("qb_ipc", "hindered"), [("auto", 0.0), ("yes", 1.0)])
def test_a_gateway_of_c_programs_that_may_wait_is_not_hindered(
    tmp_path: Path, qb_ipc: Literal["auto", "yes"], hindered: float
) -> None:
    """Another executive has the names; with `auto` that is as it was asked for."""
    config = dataclasses.replace(configured(tmp_path), qb_ipc=qb_ipc)
    found = dataclasses.replace(seen(), config=config)
    found.status["services"]["qb_gateway"]["why"] = "abstract socket 'cpg': a Corosync serves it already"
    assert f'rondo_process_hindered{{process="qb_gateway"}} {hindered}' in render(collect(found)).decode().splitlines()


@pytest.mark.parametrize(
    "line",
    [
        'rondo_process_up{process="totem"} 1.0',
        'rondo_process_up{process="sam"} 0.0',
        'rondo_process_restarts_total{process="cpg"} 2.0',
        'rondo_process_cpu_seconds_total{process="totem"} 1.5',
        'rondo_totem_state{state="operational"} 1.0',
        'rondo_totem_state{state="gather"} 0.0',
        "rondo_totem_members 2.0",
        'rondo_totem_token_losses_total{state="operational"} 5.0',
        'rondo_totem_refused_total{reason="security_wrong_key"} 9.0',
        'rondo_totem_refused_total{reason="bad_version"} 6.0',
        'rondo_totem_retransmitted_by_node_total{kind="data",node="2"} 11.0',
        'rondo_totem_retransmitted_by_node_total{kind="token",node="2"} 1.0',
        "rondo_totem_kernel_drops_total 4.0",
        'rondo_totem_path_bad{node="3"} 1.0',
        'rondo_totem_path_bad{node="2"} 0.0',
        "rondo_totem_frame_bytes_received_total 3000.0",
        "rondo_totem_token_age_seconds 0.04",
        "rondo_totem_send_queue_packets 3.0",
        "rondo_totem_keys 2.0",
        "rondo_totem_forward_secrecy 1.0",
        'rondo_totem_port_closed{node="3"} 1.0',
        'rondo_config_differing_sections{node="2"} 2.0',
        'rondo_process_compiled{process="totem"} 1.0',
        'rondo_process_hindered{process="totem"} 0.0',
        'rondo_process_hindered{process="web"} 1.0',
        'rondo_cpg_ring_messages_total{function="mcast",sender="all"} 70.0',
        'rondo_cpg_user_bytes{of="events",uid="1000"} 9.0',
        "rondo_qb_flow_controlled 1.0",
        "rondo_sam_restarts_total 4.0",
        "rondo_sam_keeper_up 1.0",
        "rondo_notify_waiting 2.0",
        "rondo_web_pages_known 1.0",
        'rondo_link_up{link="0",node="3"} 0.0',
        'rondo_link_latency_seconds{link="0",node="2"} 0.00025',
        'rondo_events_total{event="knet_doubts",process="totem"} 42.0',
        'rondo_control_messages_refused_total{reason="ignored: malformed"} 3.0',
        "rondo_quorum_needed_votes 2.0",
        'rondo_cpg_group_members{group="bank"} 2.0',
        'rondo_cpg_group_messages_total{group="bank"} 70.0',
        'rondo_cpg_group_message_bytes_total{group="bank"} 7000.0',
        'rondo_gateway_backlog_bytes{of="worst"} 200.0',
        'rondo_gateway_level{of="connections"} 7.0',
        'rondo_sam_applications{state="failed"} 1.0',
        'rondo_sam_applications{state="stopped"} 0.0',
        "ha_cluster_corosync_quorate 1.0",
        'ha_cluster_corosync_member_votes{local="true",node="",node_id="1"} 1.0',
        'ha_cluster_corosync_quorum_votes{type="highest_expected"} 3.0',
        'ha_cluster_corosync_rings{address="10.0.0.1",node_id="1",number="0",ring_id="1.6b0c0493a057"} 0.0',
        "ha_cluster_corosync_ring_errors 1.0",
        "ha_cluster_corosync_members 2.0",
    ],
)
def test_what_services_say_is_in_the_text(line: str) -> None:
    assert line in lines()


def test_a_node_that_is_out_has_no_votes_and_is_told_of() -> None:
    assert not any(line.startswith("rondo_quorum_votes") and 'node="3"' in line for line in lines())
    assert any(line.startswith('rondo_absent_since_seconds{node="3"}') for line in lines())


def test_rotations_are_a_histogram_in_seconds() -> None:
    found = [line for line in lines() if line.startswith("rondo_totem_rotation_seconds")]
    counts = [float(line.split()[1]) for line in found if "_bucket" in line]
    assert counts == sorted(counts)
    assert len(counts) == BOUNDS + 1
    assert 'rondo_totem_rotation_seconds_bucket{le="0.000131072"} 1.0' in found
    assert 'rondo_totem_rotation_seconds_bucket{le="0.000262144"} 3.0' in found
    assert 'rondo_totem_rotation_seconds_bucket{le="8.589934592"} 4.0' in found
    assert 'rondo_totem_rotation_seconds_bucket{le="+Inf"} 5.0' in found
    assert "rondo_totem_rotation_seconds_count 5.0" in found


@pytest.mark.parametrize("took_ns", [0, 1, 65_535, 65_536, 1 << 20, (1 << 33) - 1, 1 << 33, 1 << 50])
def test_a_rotation_is_counted_below_its_bound_and_not_below_the_one_before(took_ns: int) -> None:
    times = RotationTimes()
    times.add(took_ns)
    bounds = times.status()["bounds_ns"]
    assert isinstance(bounds, list)
    index = times.counts.index(1)
    assert index == BOUNDS or took_ns < bounds[index]
    assert index == 0 or took_ns >= bounds[index - 1]
    assert times.worst_ns == took_ns


@pytest.mark.parametrize("service", list(ANSWERS))
def test_a_service_that_does_not_answer_takes_nothing_else_along(service: str) -> None:
    one = seen()
    del one.answers[service]
    assert "rondo_metrics_series_left_out 0.0" in render(collect(one)).decode().splitlines()


def test_names_that_are_no_text_are_labels_all_the_same() -> None:
    one = seen()
    one.answers["cpg"]["groups"] = [{"group": 'a"\n\\\x00' + "x" * 200, "members": []}]
    found = [line for line in render(collect(one)).decode().splitlines() if line.startswith("rondo_cpg_group_members")]
    assert len(found) == 1
    assert len(found[0]) < 200


def test_series_beyond_the_bound_are_left_out_and_counted() -> None:
    one = seen()
    one.answers["cpg"]["groups"] = [{"group": f"g{number}", "members": []} for number in range(1000)]
    text = render(collect(one)).decode()
    assert text.count("\nrondo_cpg_group_members{") == 256
    assert "rondo_metrics_series_left_out 744.0" in text


def test_a_value_of_a_series_that_is_there_is_replaced_at_the_bound() -> None:
    values, metric = Values(), Metric("rondo_x", Kind.GAUGE, "x", ("of",), 1)
    values.set(metric, 1, "a")
    values.set(metric, 2, "a")
    values.set(metric, 3, "b")
    assert values.found[metric] == {("a",): 2}
    assert values.left_out == 1


# -- the declarations


def test_every_counter_of_the_source_is_declared_with_a_meaning() -> None:
    """So nothing is counted that nobody can look up."""
    of_totem = {*ring.COUNTED, *ring.PARTS_OF_OTHERS, *events.MEANINGS["totem"]}
    assert set(COUNTERS) <= of_totem
    lacking = []
    for path in sorted((ROOT / "services").rglob("*.py")):
        service, *within = path.relative_to(ROOT / "services").parts
        prefix = next((told for part, told in PREFIXES.items() if part in within), "")
        for short in _COUNTED.findall(path.read_text(encoding="utf-8")):
            name = prefix + short
            elsewhere = service == "totem" and (ring.is_refusal(name) or name in ring.COUNTED)
            elsewhere |= service == "sam" and name == processes.RESTARTS_COUNTER
            # Sessions of the qb_gateway count beside its groups, without a prefix.
            if not (elsewhere or {name, short, f"remote_{short}"} & events.MEANINGS[service].keys()):
                lacking.append(f"{path}: {name}")
    assert lacking == []


def test_the_sample_has_no_event_without_a_meaning() -> None:
    found = collect(seen()).found[events.EVENTS]
    assert [each for each in found if each[1] not in events.MEANINGS[each[0]]] == []


def test_names_have_their_units_and_are_declared_once() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.help, metric.name
        assert not re.search(r"_(ms|us|ns|kb|percent|milliseconds|minutes)(_|$)", metric.name), metric.name
        assert len(metric.values) <= metric.series_max


def test_every_metric_occurs() -> None:
    """Those of the configuration aside, which the sample has not."""
    found = collect(seen()).found
    assert {m.name for m in METRICS if m not in found} <= {
        "rondo_info", "rondo_log_lines_lost_total", "rondo_totem_token_timeout_seconds",
    } - {"rondo_log_lines_lost_total"}  # fmt: skip


def test_the_reference_is_current() -> None:
    stored = (ROOT / "docs/METRICS.md").read_text(encoding="utf-8")
    assert stored == reference(), "run: python -m rondo.metrics.reference > docs/METRICS.md"


# -- the command, and promtool


def test_without_a_node_the_command_says_that_nothing_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--run-dir", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    assert 'rondo_process_up{process="totem"} 0.0' in out
    assert "rondo_node_healthy 0.0" in out


def test_a_process_is_measured_and_one_that_has_gone_is_not(tmp_path: Path) -> None:
    found = usage_of(1)
    assert found is not None
    assert found.started_unix_seconds > 1_000_000_000
    assert usage_of(2**22 + 1) is None


@pytest.mark.promtool
@pytest.mark.parametrize("text", [render(collect(seen()))], ids=["sample"])
def test_promtool_finds_nothing_wrong_with_the_text(text: bytes) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_openmetrics_has_an_end_and_the_same_series() -> None:
    text = render(collect(seen()), is_openmetrics=True).decode()
    assert text.endswith("# EOF\n")
    assert 'rondo_process_restarts_total{process="cpg"} 2.0' in text


@pytest.mark.parametrize(
    ("is_openmetrics", "parse"), [(False, classic_families), (True, openmetrics_families)], ids=["text", "openmetrics"]
)
def test_a_later_scrape_has_the_new_values_and_the_new_series(is_openmetrics: bool, parse: Any) -> None:
    """As Prometheus' own package reads them. What an earlier scrape has written is used again."""
    one = seen()
    render(collect(one), is_openmetrics=is_openmetrics)
    one.answers["totem"]["counters"]["messages_rx"] = 12_345_678
    one.answers["totem"]["rotations"]["counts"][3] += 7
    one.answers["cpg"]["groups"] += [{"group": 'a"b\\c\nd e', "members": [], "messages": 3}]
    values = collect(one)
    text = render(values, is_openmetrics=is_openmetrics).decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }
    wanted: dict[tuple[Any, ...], float] = {}
    for metric, series in values.found.items():
        for labels, value in series.items():
            named = sorted(zip(metric.labels, labels, strict=True))
            if isinstance(value, Histogram):
                totals = list(itertools.accumulate(value.counts))
                bounds = [*map(repr, value.bounds), "+Inf"]
                wanted |= {(f"{metric.name}_bucket", ("le", each)): n for each, n in zip(bounds, totals, strict=True)}
                wanted |= {(f"{metric.name}_count",): totals[-1], (f"{metric.name}_sum",): value.sum}
            else:
                wanted[metric.name, *named] = value
    assert samples == wanted


def _rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = yaml.safe_load((CONFIG / "prometheus-rules.yml").read_text())["groups"][0]["rules"]
    return rules


def _expressions() -> dict[str, str]:
    dashboard = json.loads((CONFIG / "grafana-dashboard.json").read_text())
    panels = {
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    return panels | {f"note {each['name']}": each["expr"] for each in dashboard["annotations"]["list"]}


def _written(name: str) -> str:
    """The metric of a series: a histogram has three."""
    histograms = [metric.name for metric in METRICS if metric.kind is Kind.HISTOGRAM]
    return next((each for each in histograms if name in (f"{each}_bucket", f"{each}_sum", f"{each}_count")), name)


def test_alerts_and_dashboard_name_metrics_that_there_are() -> None:
    names = {metric.name for metric in METRICS}
    for where, text in {**_expressions(), **{rule["alert"]: rule["expr"] for rule in _rules()}}.items():
        used = {_written(name) for name in _NAME.findall(text)} - {"rondo_ring"}
        assert used, where
        assert used <= names, where


def test_every_alert_is_tried_both_ways() -> None:
    tests = yaml.safe_load((CONFIG / "prometheus-rules-test.yml").read_text())["tests"]
    tried = {test["name"] for test in tests}
    for rule in _rules():
        assert {f"{rule['alert']} fires", f"{rule['alert']} does not fire"} <= tried
        assert rule["annotations"].keys() == {"summary", "mend"}


@pytest.mark.promtool
def test_promtool_tries_the_alerts() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(CONFIG / "prometheus-rules-test.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$instance", ".*")}
        for number, text in enumerate(_expressions().values())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_scrape_after_the_first_does_not_begin_anew() -> None:
    """Counted are the calls of functions, which no load of the machine changes: of a scrape in which two counters have
    grown. Each series alone costs a call or two when its value is set, and none after that if its metric is as it was.
    """
    one, calls = seen(), 0

    def count(_frame: FrameType, event: str, _what: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    first = render(collect(one), is_openmetrics=True)
    one.answers["totem"]["counters"]["mcast_tx"] += 1
    one.answers["cpg"]["counters"]["requests"] += 1
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        text = render(collect(one), is_openmetrics=True)
    finally:
        sys.setprofile(before)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    print(f"{calls} calls for {series} series")
    changed = set(text.splitlines()) - set(first.splitlines())
    assert {line.partition(b"{")[0] for line in changed} >= {b"rondo_totem_frames_sent_total", b"rondo_events_total"}
    assert calls < CALLS_A_SERIES_MAX * series


def test_a_histogram_is_no_plain_value() -> None:
    values = Values()
    values.set(ring.ROTATIONS, Histogram([0.1], [1, 2], 0.5))
    text = render(values).decode()
    assert 'rondo_totem_rotation_seconds_bucket{le="0.1"} 1.0' in text
    assert "rondo_totem_rotation_seconds_count 3.0" in text
