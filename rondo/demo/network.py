"""The network of the demo: a separate one, if the system permits that to its user, so that it can be cut.

All nodes are on the loopback interface of that network. Rules of nftables drop packets between the two sides.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

from rondo.cli.output import CommandError

OWN = "RONDO_DEMO_NETWORK"
"""Environment variable that is set once the program runs in a separate network."""
PROBE_SECONDS = 20.0
_TABLE = "inet rondo_demo"
_UP = "ip link set lo up"
_RULES = (
    "table {table} {{ chain input {{ type filter hook input priority 0; "
    "ip saddr {{ {some} }} ip daddr {{ {others} }} drop; ip saddr {{ {others} }} ip daddr {{ {some} }} drop; }} ; }}\n"
)
_TOOLS = ("unshare", "ip", "nft")


def enter_own() -> str:
    """Restart this program in a separate network. Returns if it runs in one already, or, with the reason, if that is
    not possible. Raises CommandError."""
    if OWN in os.environ:
        _run(["sh", "-c", _UP], "")
        return ""
    if missing := [tool for tool in _TOOLS if shutil.which(tool, path=_path()) is None]:
        return f"not installed: {', '.join(missing)}"
    why = ""
    for user in ([], ["--user", "--map-root-user"]):
        if not user and os.geteuid():
            continue
        unshare = ["unshare", *user, "--net", "--"]
        if not (why := _why_not(unshare)):
            environment = {**os.environ, OWN: "yes"}
            os.execvpe("unshare", [*unshare, sys.executable, *sys.orig_argv[1:]], {**environment, "PATH": _path()})
    return why


def _path() -> str:
    """PATH with the directories of system tools, which ordinary users often lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _why_not(unshare: list[str]) -> str:
    """Why the demo cannot use such a network; empty if it can."""
    rules = _RULES.format(table=_TABLE, some="127.0.0.1", others="127.0.0.2")
    try:
        done = subprocess.run(
            [*unshare, "sh", "-c", f"{_UP} && nft -f -"],
            input=rules, env={**os.environ, "PATH": _path()}, capture_output=True, text=True, timeout=PROBE_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "namespaces take too long here"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[0] if lines else f"exit status {done.returncode}")


class Network:
    """The network between the nodes."""

    def __init__(self, why_not_own: str) -> None:
        """`why_not_own`: the result of `enter_own`."""
        self.why_whole = why_not_own
        """Why it cannot be cut; empty if it can be."""

    def cut(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Drop all packets between these addresses. Raises CommandError."""
        _run(["nft", "-f", "-"], _RULES.format(table=_TABLE, some=", ".join(some), others=", ".join(others)))

    def heal(self) -> None:
        """Let everything pass again. Raises CommandError."""
        _run(["nft", "-f", "-"], f"delete table {_TABLE}\n")


def _run(command: list[str], text: str) -> None:
    done = subprocess.run(
        command, input=text, env={**os.environ, "PATH": _path()}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(f"{command[0]} refuses: {done.stderr.strip()}")
