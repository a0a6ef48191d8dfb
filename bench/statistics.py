"""Series of samples and what is said about them: the median, the spread, and ratios within pairs.

No sample is ever left out. The spread is from the smallest to the largest sample. Systems take turns, so that sample i
of one and sample i of another were measured within seconds of each other; a ratio is the median of the ratios of these
pairs, which a machine that is slower for a while disturbs least.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

Labels = dict[str, str | int | float]


@dataclass
class Series:
    """Samples of one quantity of one system under one load.

    `labels` say what: always `system`, and what the part varies (size, nodes, loss). `cpu` is, for each process by
    name, the share of one core that it used during each sample; `pss_mib` its memory after each.
    """

    quantity: str
    unit: str
    labels: Labels
    samples: list[float] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    pss_mib: dict[str, list[float]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread_percent(self) -> float:
        """From the smallest to the largest sample, as a share of the median."""
        middle = self.median
        return 100 * (max(self.samples) - min(self.samples)) / middle if middle else 0.0

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it apart from the others of its part."""
        return (self.quantity, *sorted(self.labels.items()))

    def extend(self, later: Series) -> None:
        """Put the samples of a later run to these."""
        if later is self:
            return
        self.samples += later.samples
        for name, values in later.cpu.items():
            self.cpu.setdefault(name, []).extend(values)
        for name, values in later.pss_mib.items():
            self.pss_mib.setdefault(name, []).extend(values)

    def cpu_medians(self) -> dict[str, float]:
        """The median share of a core that each process used."""
        return {name: statistics.median(shares) for name, shares in self.cpu.items()}

    def pss_medians(self) -> dict[str, float]:
        """The median memory of each process, in MiB."""
        return {name: statistics.median(values) for name, values in self.pss_mib.items()}

    def add_use(self, cpu_shares: dict[str, float], pss_mib: dict[str, float]) -> None:
        """Add what the processes used during the last sample, and their memory after it."""
        for of, values in ((self.cpu, cpu_shares), (self.pss_mib, pss_mib)):
            for name, value in values.items():
                of.setdefault(name, []).append(value)


def paired_ratio(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The median of one[i] / other[i]; None if there are no pairs, or nothing to divide by."""
    ratios = [a / b for a, b in zip(one, other, strict=False) if b]
    return statistics.median(ratios) if ratios else None


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which that share of the ascending values lies (nearest rank)."""
    assert ordered
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
