"""Tables, files of results, and the command line of the bench."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.lab.systems import chosen
from bench.report import number_text, report, size_text
from bench.results import PartResult, load, load_all
from bench.statistics import Series


def result() -> PartResult:
    series = [
        Series(
            "throughput",
            "messages/s",
            {"system": "rondo", "size": 65536},
            [3000, 4000, 2000],
            {"1.totem": [0.5], "2.totem": [0.25], "elsewhere": [0.1]},
            {"1.totem": [30]},
        ),
        Series("throughput", "messages/s", {"system": "corosync-knet", "size": 65536}, [1500, 1000, 1000]),
    ]
    machine = {"cpus": "2 CPUs"}
    return PartResult(
        "throughput",
        "One sender",
        ("size",),
        "python -m bench",
        "today",
        "abc",
        machine,
        {"rondo": "totem {\n}\n"},
        series,
    )


def test_report_shows_medians_ratios_processor_time_and_configurations() -> None:
    text = report([result()])
    assert "| 64 KiB | 197 MB/s (±33 %) | 65.5 MB/s (±25 %) | 2.00 x |" in text
    assert "| 64 KiB | rondo | totem 50 | 25 | 10 | totem 30 | 0 |" in text
    assert "`rondo`:\n\n```\ntotem {\n}\n```" in text
    assert "totem {" not in report([result()], with_configurations=False)


def test_results_survive_the_file(tmp_path: Path) -> None:
    one = result()
    assert load(one.save(tmp_path)) == one
    assert load_all(tmp_path, ("latency", "throughput")) == [one]


def test_a_file_of_results_has_a_line_for_each_series_and_no_needless_digits(tmp_path: Path) -> None:
    measured = result()
    measured.series[0].samples = [1234.56789, 0.000123456]
    text = measured.save(tmp_path).read_text()
    assert "1234.6, 0.00012346" in text
    assert len([line for line in text.splitlines() if '"quantity"' in line]) == len(measured.series)


def test_a_part_that_is_measured_in_pieces_keeps_all_samples() -> None:
    first, second = result(), result()
    second.series[1].labels = {"system": "corosync-udpu", "size": 65536}
    second.add(first)
    assert [(series.labels["system"], len(series.samples)) for series in second.series] == [
        ("rondo", 6), ("corosync-knet", 3), ("corosync-udpu", 3),
    ]  # fmt: skip
    assert second.series[0].cpu["1.totem"] == [0.5, 0.5]
    later = replace(result(), version="other")
    with pytest.raises(ValueError, match=r"throughput\.json is of version abc, this is other"):
        later.add(first)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"series": [{"nonsense": 1}]}'])
def test_what_is_no_result_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "latency.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"latency\.json: not a result"):
        load(path)


@pytest.mark.parametrize(
    ("value", "unit", "size", "text"),
    [
        (79_123, "messages/s", 64, "79.1 k/s"),
        (148.2, "messages/s", 1024, "148 /s"),
        (1500, "messages/s", 65536, "98.3 MB/s"),
        (410.4, "us", None, "410 µs"),
        (0.53, "%", None, "0.530 %"),
    ],
)
def test_numbers_have_three_digits_and_a_unit(value: float, unit: str, size: int | None, text: str) -> None:
    assert number_text(value, unit, size) == text


def test_sizes_are_written_as_one_speaks_of_them() -> None:
    assert [size_text(size) for size in (64, 1000, 1024, 262144, 1 << 20)] == [
        "64 B", "1000 B", "1 KiB", "256 KiB", "1 MiB",
    ]  # fmt: skip


def test_configurations_of_the_systems() -> None:
    rondo, knet, slow, ours = chosen(["rondo", "corosync-knet", "corosync-udpu+norr", "rondo-knet+links"])
    addresses = {1: ["10.0.0.1"], 2: ["10.0.0.2"]}
    assert "keyfile: /key" in rondo.configuration(addresses, "/key", {}, {})
    assert "system {" not in rondo.configuration(addresses, "/key", {}, {})
    text = knet.configuration(addresses, "/key", {"to_syslog": "no"}, {"state_dir": "/s"})
    assert "crypto_cipher: aes256" in text
    assert "ring0_addr: 10.0.0.2" in text
    text = slow.configuration(addresses, "/key", {}, {})
    assert "keyfile" not in text
    assert "sched_rr: no" in text
    assert ours.totem == knet.totem
    text = ours.configuration({1: ["10.0.0.1", "10.0.1.1"]}, "/key", {}, {})
    assert "ring1_addr: 10.0.1.1" in text
    assert "keyfile: /key" in text


def test_what_the_clients_of_a_system_are_written_for() -> None:
    found = chosen(["rondo", "rondo+aio", "rondo-knet+c", "corosync-knet"])
    assert [system.client for system in found] == ["python", "asyncio", "libcpg", "libcpg"]
    assert "qb_ipc: yes" in found[2].configuration({1: ["10.0.0.1"]}, "/key", {}, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", "nonsense"], "there is no part 'nonsense'"),
        (["--systems", "corosync-ib"], "there is no system 'corosync-ib'"),
        (["--systems", "rondo+links"], "there is no system 'rondo+links'"),
        (["--systems", "corosync-knet+tuned"], "there is no system 'corosync-knet+tuned'"),
        (["--systems", "corosync-knet+aio"], "there is no system 'corosync-knet+aio'"),
        (["--sizes", "64,x"], "'64,x' is not a list of numbers"),
        (["--report-only"], "there are no results in"),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*words, "--out", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
