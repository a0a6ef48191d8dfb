"""The hot modules, compiled: the code that every message passes exists as machine code, too, where that was built.

`make wheels` has mypyc translate the modules named here, the same source that runs without it, into one library. It
lies in the package, and a module that points into it lies beside each source. Python's import system takes machine code
before source in the same directory, so nothing here has a hand in imports, and no module knows which of the two it is.

Machine code is made for wheels, and for the copy of the tree in which `make cluster` and `make bench` work, never
beside source that is edited. A digest says of which source it was made. Where that is another one than lies beside it,
someone has changed an installation: the log, `rondo status` and `rondo doctor` say so.

bench/RESULTS.md has the gain. The client library is not compiled, but for the envelopes that the gateway reads too: it
runs in other people's programs, which may want to read it, to derive from it, or to do without a compiler.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The directory that holds `rondo` and `services`."""

GROUP = "rondo.machine_code"
LIBRARY = "rondo.machine_code__mypyc"
"""The module that holds all code, as mypyc calls it for that group; those of the single modules only point into it."""

SUFFIX = EXTENSION_SUFFIXES[0]
"""Of a module of machine code for this version of Python and this kind of machine."""

DIGEST = Path("rondo", "machine_code.digest")
"""Under the root: of which source the machine code was made."""

PACKAGES = ("services.totem.ring", "services.totem.wire")
"""All modules of these packages are compiled, ..."""

MODULES = (
    "rondo.ipc.accepting",
    "rondo.ipc.bounds",
    "rondo.ipc.local_router",
    "rondo.ipc.local_dealer",
    "rondo.ipc.stream",
    "rondo.protocol.envelope",
    "rondo.protocol.events",
    "services.totem.ordered_log",
    "rondo.protocol.batch",
    "rondo.protocol.client_gateway",
    "rondo.protocol.large",
    "rondo.protocol.totem_reader",
    "rondo.protocol.requests",
    "rondo.protocol.cpg_gateway",
    "rondo.node.chassis",
    "rondo.node.cpg_link",
    "rondo.ipc.zmtp",
    "services.cpg.accounts",
    "services.cpg.answers",
    "services.cpg.assembly",
    "services.cpg.clients",
    "services.cpg.core",
    "services.cpg.evaluate",
    "services.cpg.gateways",
    "services.cpg.groups",
    "services.cpg.laggards",
    "services.cpg.machine",
    "services.cpg.numbering",
    "services.cpg.process",
    "services.cpg.quotas",
    "services.cpg.session_table",
    "services.cpg.sessions",
    "services.cpg.wire",
    "services.ipc_gateway.listeners",
    "services.ipc_gateway.from_cpg",
    "services.ipc_gateway.gateway",
    "services.ipc_gateway.keep_warm",
    "services.ipc_gateway.unix_listener",
    "services.ipc_gateway.outboxes",
    "services.ipc_gateway.process",
    "services.ipc_gateway.listener",
    "services.ipc_gateway.curve_listener",
    "services.ipc_gateway.sessions",
    "services.ipc_gateway.session_registry",
    "services.ipc_gateway.to_cpg",
    "services.totem.backpressure",
    "services.totem.bus",
    "services.totem.control_bus",
    "services.totem.control_reader",
    "services.totem.copied",
    "services.totem.cpu_latency",
    "services.totem.node",
    "services.totem.outgoing",
    "services.totem.process",
    "services.totem.protection",
    "services.totem.suspicion",
    "services.totem.security.envelope",
    "services.totem.security.marks",
    "services.totem.security.opener",
    "services.totem.security.packets",
    "services.totem.security.peers",
    "services.totem.security.replay",
    "services.totem.security.sealer",
    "services.totem.transport.base",
    "services.totem.transport.batch",
    "services.totem.transport.knet.crypto",
    "services.totem.transport.knet.effects",
    "services.totem.transport.knet.format",
    "services.totem.transport.knet.fragments",
    "services.totem.transport.knet.keyring",
    "services.totem.transport.knet.knet",
    "services.totem.transport.knet.numbers",
    "services.totem.transport.knet.peer_link",
    "services.totem.transport.knet.remote_host",
    "services.totem.transport.knet_link",
    "services.totem.transport.knet_sockets",
    "services.totem.transport.link",
    "services.totem.transport.neighbours",
    "services.totem.transport.peephole",
    "services.totem.transport.segments",
    "services.totem.transport.udp",
    "services.totem.transport.udpu",
)
"""... and these modules."""

COMPILED = "compiled"
COMPILED_OF_OTHER_SOURCE = "compiled, from other source than lies beside it; install Rondo anew"


def path_of(name: str, suffix: str) -> Path:
    """Where a module lies, under the root."""
    parts = name.split(".")
    return Path(*parts[:-1], parts[-1] + suffix)


def sources(root: Path = ROOT) -> dict[str, Path]:
    """The source of every module that is compiled, by its name."""
    found = {name: root / path_of(name, ".py") for name in MODULES}
    for package in PACKAGES:
        for path in root.joinpath(*package.split(".")).glob("*.py"):
            if path.stem != "__init__":
                found[f"{package}.{path.stem}"] = path
    return dict(sorted(found.items()))


def digest(paths: dict[str, Path]) -> str:
    """Of the whole source. All of it counts for each module: compiled code knows the layout of what it calls."""
    taken = hashlib.blake2b(digest_size=16)
    for name, path in paths.items():
        data = path.read_bytes()
        taken.update(f"{name} {len(data)}\n".encode())
        taken.update(data)
    return taken.hexdigest()


def is_there(root: Path = ROOT) -> bool:
    """There is machine code for this Python, and imports take it."""
    return (root / path_of(LIBRARY, SUFFIX)).exists()


def is_of_its_source(root: Path = ROOT) -> bool:
    """The machine code was made of just what lies beside it."""
    try:
        return (root / DIGEST).read_text(encoding="ascii") == digest(sources(root))
    except (OSError, UnicodeDecodeError):
        return False


@functools.cache
def state(root: Path = ROOT) -> str:
    """What runs, for a log line; as it is when first asked for, which services do as they start."""
    if not is_there(root):
        return "from source"
    return COMPILED if is_of_its_source(root) else COMPILED_OF_OTHER_SOURCE
