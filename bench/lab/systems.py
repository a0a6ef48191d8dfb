"""The systems that are compared, and their configurations: the defaults of each, but for what a name says.

rondo               Rondo: udpu, aes256-gcm (what it does when nothing is said)
rondo-udp           the same over multicast
rondo-plain         Rondo without packet security, over udpu
rondo-knet          Rondo: knet with aes256 and sha256, the wire and the encryption of corosync-knet
corosync-knet       C Corosync: knet with aes256 and sha256
corosync-knet-plain C Corosync: knet without encryption (its default)
corosync-udpu       C Corosync: udpu, which has no encryption
corosync-udp        C Corosync: multicast, which has none either

With `+links` behind its name a system of knet has a second link. With `+aio` the client on a Rondo node is one of
`rondo.aio`, with `+c` the program for libcpg that C Corosync is measured with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rondo.testing.lab.ring_config import options, section

RONDO = "rondo"
COROSYNC = "corosync"

PYTHON, ASYNCIO, LIBCPG = "python", "asyncio", "libcpg"
"""What the measuring applications are written for."""


@dataclass(frozen=True)
class System:
    """One program and how it is set up. `program` is RONDO or COROSYNC; `totem` is what is said in totem{}."""

    name: str
    program: str
    totem: Mapping[str, str]
    system: Mapping[str, str] = field(default_factory=dict)
    links: int = 1
    """Each node has so many addresses."""
    client: str = PYTHON
    """PYTHON, ASYNCIO or LIBCPG."""

    @property
    def needs_key(self) -> bool:
        return self.program == RONDO or "crypto_cipher" in self.totem

    @property
    def is_knet(self) -> bool:
        return self.totem.get("transport") == "knet"

    def configuration(
        self, addresses: Mapping[int, Sequence[str]], key_file: str, log: Mapping[str, str], system: Mapping[str, str]
    ) -> str:
        """The text of its corosync.conf: `addresses` of all links by node; `log` and `system` are where a node puts its
        things."""
        totem = {"version": "2", "cluster_name": "bench", **self.totem}
        if self.needs_key and totem.get("secauth") != "off":
            totem["keyfile"] = key_file
        nodes = "".join(
            section(
                "node",
                options(
                    # C Corosync insists on a name where there are several links.
                    {"nodeid": node, "name": f"n{node}", **{f"ring{n}_addr": each for n, each in enumerate(of_node)}}
                ),
            )
            for node, of_node in addresses.items()
        )
        parts = [section("totem", options(totem)), section("nodelist", nodes), section("logging", options(log))]
        if whole := {**self.system, **system}:
            parts.append(section("system", options(whole)))
        return "".join(parts)


KNET = {"transport": "knet", "crypto_cipher": "aes256", "crypto_hash": "sha256"}
SYSTEMS = {
    system.name: system
    for system in (
        System("rondo", RONDO, {}),
        System("rondo-udp", RONDO, {"transport": "udp"}),
        System("rondo-plain", RONDO, {"secauth": "off"}),
        System("rondo-knet", RONDO, KNET),
        System("corosync-knet", COROSYNC, KNET, client=LIBCPG),
        System("corosync-knet-plain", COROSYNC, {"transport": "knet"}, client=LIBCPG),
        System("corosync-udpu", COROSYNC, {"transport": "udpu"}, client=LIBCPG),
        System("corosync-udp", COROSYNC, {"transport": "udp"}, client=LIBCPG),
    )
}
DEFAULT_SYSTEMS = ("rondo", "corosync-knet", "corosync-udpu")


def without_realtime(system: System) -> System:
    """The same with `sched_rr: no`."""
    return replace(system, name=f"{system.name}+norr", system={**system.system, "sched_rr": "no"})


def with_realtime(system: System) -> System:
    """The same with `sched_rr: yes`."""
    return replace(system, name=f"{system.name}+rr", system={**system.system, "sched_rr": "yes"})


def tuned(system: System) -> System:
    """Rondo with what docs/OPERATING.md recommends for the lowest latency."""
    return replace(system, name=f"{system.name}+tuned", system={**system.system, "low_latency": "yes"})


def with_links(system: System) -> System:
    """The same with two links."""
    return replace(system, name=f"{system.name}+links", links=2)


def with_asyncio(system: System) -> System:
    """The same with clients of `rondo.aio`."""
    return replace(system, name=f"{system.name}+aio", client=ASYNCIO)


def with_libcpg(system: System) -> System:
    """Rondo with the C client."""
    return replace(system, name=f"{system.name}+c", system={**system.system, "qb_ipc": "yes"}, client=LIBCPG)


def chosen(names: Iterable[str]) -> list[System]:
    """The systems of these names. Behind a name `+rr` and `+norr` set sched_rr; `+links` gives knet a second link;
    `+tuned` gives Rondo the lines of `tuned`, and `+aio` and `+c` other clients. Raises ValueError."""
    found = []
    for name in names:
        base, _, suffix = name.partition("+")
        variants: dict[str, Callable[[System], System]] = {
            "": lambda system: system,
            "rr": with_realtime,
            "norr": without_realtime,
            "tuned": tuned,
            "links": with_links,
            "aio": with_asyncio,
            "c": with_libcpg,
        }
        system = SYSTEMS.get(base)
        if (
            system is None
            or suffix not in variants
            or (suffix in ("tuned", "aio", "c") and system.program != RONDO)
            or (suffix == "links" and not system.is_knet)
        ):
            names_known = f"{', '.join(SYSTEMS)}, with +rr or +norr, Rondo's +tuned, +aio and +c, knet's +links"
            raise ValueError(f"there is no system '{name}'; there are {names_known}")
        found.append(variants[suffix](system))
    return found
