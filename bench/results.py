"""The files of results: one JSON for each part, so that parts are measured when it suits and reported together."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.statistics import Series
from rondo.node import compiled

REPOSITORY = Path(__file__).parents[1]
MEASURED = ("rondo", "services")
DIGITS = 5


@dataclass
class PartResult:
    """What one part has measured, with all that one needs to know to measure it again."""

    part: str
    title: str
    rows: tuple[str, ...]
    command: str
    when: str
    version: str
    machine: dict[str, str]
    configurations: dict[str, str]
    series: list[Series] = field(default_factory=list)

    def systems(self) -> list[str]:
        """The systems in the order in which they were named."""
        return list(dict.fromkeys(str(series.labels["system"]) for series in self.series))

    def machine_text(self) -> str:
        """The machine in one line."""
        return ", ".join([*self.machine.values(), f"Rondo {self.version}"])

    def add(self, earlier: PartResult) -> None:
        """Put what this run has measured to what an earlier one of the same version has; raises ValueError if it is of
        another version."""
        if earlier.version != self.version:
            found = f"{self.part}.json is of version {earlier.version}, this is {self.version}"
            raise ValueError(f"{found}: remove it, or choose another --out")
        known = {series.key: series for series in earlier.series}
        for series in self.series:
            known.setdefault(series.key, series).extend(series)
        self.series = list(known.values())
        self.command = f"{earlier.command}\n{self.command}"
        self.when = f"{earlier.when}, {self.when}"
        self.configurations = {**earlier.configurations, **self.configurations}

    def save(self, directory: Path) -> Path:
        """Write PART.json."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.part}.json"
        path.write_text(self._text(), encoding="utf-8")
        return path

    def _text(self) -> str:
        """JSON with a line for each series, so that files of releases stay small and their differences readable."""
        fields = _short(asdict(self))
        series = ",\n  ".join(json.dumps(each) for each in fields.pop("series"))
        head = json.dumps(fields, indent=1).removesuffix("\n}")
        return f'{head},\n "series": [\n  {series}\n ]\n}}\n'


def _short(value: Any) -> Any:
    """The same with floats of `DIGITS` digits: no sample is more exact."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    return value


def load(path: Path) -> PartResult:
    """Read what `save` has written. Raises ValueError if it is something else."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        series = [Series(**each) for each in raw.pop("series")]
        return PartResult(**{**raw, "rows": tuple(raw["rows"])}, series=series)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a result of this program: {error!r}") from None


def load_all(directory: Path, order: Sequence[str]) -> list[PartResult]:
    """The results of all parts in a directory."""
    return [load(path) for part in order if (path := directory / f"{part}.json").exists()]


def machine() -> dict[str, str]:
    """What the figures depend on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return {
        "cpus": f"{os.cpu_count()} CPUs ({model[1] if model else platform.machine()})",
        "kernel": f"Linux {platform.release()}",
        "python": f"CPython {platform.python_version()}, hot modules {compiled.state()}",
        "corosync": _first_line(["corosync", "-v"]),
    }


def version() -> str:
    """The last commit that changed what is measured, with `+` if files differ from it."""
    git = ["git", "-C", str(REPOSITORY)]
    commit = _first_line([*git, "log", "-1", "--format=%h", "--", *MEASURED])
    changed = _first_line([*git, "status", "--porcelain", "--untracked-files=no", "--", *MEASURED])
    return f"{commit}{'+' if changed else ''}"


def now_text() -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC"


def _first_line(argv: list[str]) -> str:
    try:
        output = subprocess.run(argv, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return f"no {argv[0]}"
    return output.partition("\n")[0].strip()
