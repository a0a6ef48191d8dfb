"""The systems that are compared, and their configurations: the defaults of each, but for what a name says.

rondo               Rondo: udpu, aes256-gcm (what it does when nothing is said)
rondo-udp           the same over multicast
rondo-plain         Rondo without packet security, over udpu
corosync-knet       C Corosync: knet with aes256 and sha256
corosync-knet-plain C Corosync: knet without encryption (its default)
corosync-udpu       C Corosync: udpu, which has no encryption
corosync-udp        C Corosync: multicast, which has none either
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rondo.testing.lab.ring_config import options, section

RONDO = "rondo"
COROSYNC = "corosync"


@dataclass(frozen=True)
class System:
    """One program and how it is set up. `program` is RONDO or COROSYNC; `totem` is what is said in totem{}."""

    name: str
    program: str
    totem: Mapping[str, str]
    system: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_key(self) -> bool:
        return self.program == RONDO or "crypto_cipher" in self.totem

    def configuration(
        self, addresses: Mapping[int, str], key_file: str, log: Mapping[str, str], system: Mapping[str, str]
    ) -> str:
        """The text of its corosync.conf: `addresses` by node; `log` and `system` are where a node puts its things."""
        totem = {"version": "2", "cluster_name": "bench", **self.totem}
        if self.needs_key and totem.get("secauth") != "off":
            totem["keyfile"] = key_file
        nodes = "".join(
            section("node", options({"nodeid": node, "ring0_addr": address})) for node, address in addresses.items()
        )
        parts = [section("totem", options(totem)), section("nodelist", nodes), section("logging", options(log))]
        if whole := {**self.system, **system}:
            parts.append(section("system", options(whole)))
        return "".join(parts)


SYSTEMS = {
    system.name: system
    for system in (
        System("rondo", RONDO, {}),
        System("rondo-udp", RONDO, {"transport": "udp"}),
        System("rondo-plain", RONDO, {"secauth": "off"}),
        System("corosync-knet", COROSYNC, {"transport": "knet", "crypto_cipher": "aes256", "crypto_hash": "sha256"}),
        System("corosync-knet-plain", COROSYNC, {"transport": "knet"}),
        System("corosync-udpu", COROSYNC, {"transport": "udpu"}),
        System("corosync-udp", COROSYNC, {"transport": "udp"}),
    )
}
DEFAULT_SYSTEMS = ("rondo", "corosync-knet", "corosync-udpu")


def without_realtime(system: System) -> System:
    """The same with `sched_rr: no`."""
    return System(f"{system.name}+norr", system.program, system.totem, {**system.system, "sched_rr": "no"})


def with_realtime(system: System) -> System:
    """The same with `sched_rr: yes`."""
    return System(f"{system.name}+rr", system.program, system.totem, {**system.system, "sched_rr": "yes"})


def tuned(system: System) -> System:
    """Rondo with what docs/OPERATING.md recommends for the lowest latency."""
    return System(f"{system.name}+tuned", system.program, system.totem, {**system.system, "low_latency": "yes"})


def chosen(names: Iterable[str]) -> list[System]:
    """The systems of these names; `+rr` and `+norr` behind a name set sched_rr, `+tuned` the lines of `tuned` (Rondo
    alone has them). Raises ValueError."""
    found = []
    for name in names:
        base, _, suffix = name.partition("+")
        variants: dict[str, Callable[[System], System]] = {
            "": lambda system: system,
            "rr": with_realtime,
            "norr": without_realtime,
            "tuned": tuned,
        }
        if base not in SYSTEMS or suffix not in variants or (suffix == "tuned" and SYSTEMS[base].program != RONDO):
            names_known = ", ".join(SYSTEMS)
            raise ValueError(f"there is no system '{name}'; there are {names_known}, with +rr or +norr, Rondo's +tuned")
        found.append(variants[suffix](SYSTEMS[base]))
    return found
