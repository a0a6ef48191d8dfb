"""The hot modules, compiled: the code that every message passes exists as machine code, too, where that was built.

`make compiled` (python -m rondo.node.compile) has mypyc translate the modules named here into one library beside this
package. Their source stays the same and also runs uncompiled. If the library exists and was made from exactly the
present source, imports of these modules load it. Otherwise, and with RONDO_COMPILED=no in the environment, they load
the source. Nothing else differs: no module knows which of the two it is.

bench/RESULTS.md has the gain. The client library is not compiled: it runs in other people's programs, which may want to
read it, to derive from it, or to do without a compiler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

SWITCH = "RONDO_COMPILED"
"""Environment variable: `no` runs everything from source."""

ROOT = Path(__file__).resolve().parents[2]
"""The directory that holds `rondo` and `services`."""

DIRECTORY = ROOT / "rondo" / "_compiled" / (sys.implementation.cache_tag or "python")
"""The directory of the library for this version of Python."""

LIBRARY = "rondo_compiled__mypyc"
"""The module that holds all code; the single modules only point into it."""

DIGEST = "source.digest"
SUFFIX = ".so"

PACKAGES = ("services.totem.ring", "services.totem.wire")
"""All modules of these packages are compiled, ..."""

MODULES = (
    "rondo.ipc.bounds",
    "rondo.ipc.local_router",
    "rondo.ipc.local_dealer",
    "rondo.ipc.stream",
    "rondo.protocol.envelope",
    "rondo.protocol.events",
    "services.totem.ordered_log",
    "rondo.protocol.batch",
    "rondo.protocol.totem_reader",
    "rondo.protocol.requests",
    "rondo.protocol.cpg_gateway",
    "rondo.node.chassis",
    "rondo.node.cpg_link",
    "rondo.ipc.zmtp",
    "services.cpg.answers",
    "services.cpg.assembly",
    "services.cpg.clients",
    "services.cpg.core",
    "services.cpg.evaluate",
    "services.cpg.gateways",
    "services.cpg.groups",
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


def sources() -> dict[str, Path]:
    """The source of every module that is compiled, by its name."""
    found = {name: ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in MODULES}
    for package in PACKAGES:
        for path in ROOT.joinpath(*package.split(".")).glob("*.py"):
            if path.stem != "__init__":
                found[f"{package}.{path.stem}"] = path
    return dict(sorted(found.items()))


def digest(paths: dict[str, Path]) -> str:
    """The digest of the whole source. All of it counts for each module: compiled code knows the layout of what it
    calls."""
    import hashlib  # imported here: OpenSSL takes longer to load than all else that `import rondo` needs

    taken = hashlib.blake2b(digest_size=16)
    for name, path in paths.items():
        data = path.read_bytes()
        taken.update(f"{name} {len(data)}\n".encode())
        taken.update(data)
    return taken.hexdigest()


class Finder:
    """Finds the compiled modules; an entry of `sys.meta_path`. It looks for the library at the first import."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self.directory = directory
        self._names: frozenset[str] | None = None
        self.is_stale = False
        """There is a library, but it was made from other source."""

    @property
    def names(self) -> frozenset[str]:
        """The modules in the library."""
        if self._names is None:
            self._names = self._look()
        return self._names

    def _look(self) -> frozenset[str]:
        try:
            made_of = (self.directory / DIGEST).read_text(encoding="ascii")
            paths = sources()
            self.is_stale = made_of != digest(paths)
        except (OSError, UnicodeDecodeError):
            return frozenset()
        return frozenset() if self.is_stale else frozenset([LIBRARY, *paths])

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The import system asks for a module (importlib.abc.MetaPathFinder)."""
        if not name.startswith(("rondo.", "services.", LIBRARY)) or name not in self.names:
            return None
        file = str(self.directory / f"{name}{SUFFIX}")
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, file))


FINDER = Finder()


def install() -> None:
    """From now on imports load the compiled modules."""
    if os.environ.get(SWITCH) != "no" and FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


def state() -> str:
    """Whether the compiled modules or the source runs, for a log line."""
    if FINDER not in sys.meta_path:
        return f"from source ({SWITCH}=no)"
    if FINDER.names:
        return "compiled"
    return "from source, since the compiled modules are older; renew them: make compiled" if FINDER.is_stale else (
        "from source"
    )  # fmt: skip
