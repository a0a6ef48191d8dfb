"""What the tests with real processes need from the machine, and the reason when it is not there.

Each function returns None, or one plain sentence that says what is missing. `tests/conftest.py` turns that into a
skip, or, with CI=true, into a failure.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

PROBE_TIMEOUT_S = 60.0
NAMESPACE_TOOLS = ("unshare", "nsenter", "ip", "nft", "mount")
COROSYNC_TOOLS = ("corosync", "corosync-cmapctl", "corosync-cfgtool")
COROSYNC_VERSION = "3.1."
LIBSAM_HEADER = Path("/usr/include/corosync/sam.h")
PACEMAKER_TOOLS = ("pacemakerd", "crm_mon", "cibadmin", "crm_standby")
# What a lab does first: if this works, the rest does.
PROBE_SCRIPT = "mount -t tmpfs tmpfs /run && ip link add probe type bridge && nft add table bridge probe"


def tool_path() -> str:
    """Return PATH with the system directories, which a user without rights often does not have in it."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def tool_environment() -> dict[str, str]:
    """Return our environment with that PATH."""
    return {**os.environ, "PATH": tool_path()}


def _probe(user_namespace: bool) -> str | None:
    """Try to make what a lab is made of; return why it did not work."""
    user = ["--user", "--map-root-user"] if user_namespace else []
    argv = ["unshare", *user, "--net", "--mount", "sh", "-c", PROBE_SCRIPT]
    try:
        done = subprocess.run(argv, env=tool_environment(), capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"`{' '.join(argv)}` did not end within {PROBE_TIMEOUT_S} s"
    return None if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


@functools.cache
def namespace_support() -> tuple[bool, str | None]:
    """Return whether a lab needs a user namespace (True unless we are root with full rights), and what is missing."""
    missing = [tool for tool in NAMESPACE_TOOLS if shutil.which(tool, path=tool_path()) is None]
    if missing:
        return True, f"not installed: {', '.join(missing)}"
    if os.geteuid() == 0 and _probe(user_namespace=False) is None:
        return False, None
    reason = _probe(user_namespace=True)
    return True, None if reason is None else f"network namespaces cannot be made here: {reason}"


def namespaces_missing() -> str | None:
    """Return why no lab of network namespaces can be made."""
    return namespace_support()[1]


def root_missing() -> str | None:
    """Return why this is not root."""
    return None if os.geteuid() == 0 else "needs root"


def promtool_missing() -> str | None:
    """Return why nobody can judge what is written for Prometheus."""
    return None if shutil.which("promtool", path=tool_path()) else "not installed: promtool (Debian: `prometheus`)"


@functools.cache
def corosync_missing() -> str | None:
    """Return why no C Corosync 3.1 can be run beside us."""
    missing = [tool for tool in COROSYNC_TOOLS if shutil.which(tool, path=tool_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian's package is `corosync`)"
    argv = ["corosync", "-v"]
    done = subprocess.run(argv, env=tool_environment(), capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    if f"'{COROSYNC_VERSION}" not in done.stdout:
        first_line = (done.stdout or done.stderr).strip().partition("\n")[0]
        return f"needs Corosync {COROSYNC_VERSION}x, found: {first_line}"
    return None


def pacemaker_missing() -> str | None:
    """Return why no Pacemaker can be run on our nodes."""
    missing = [tool for tool in PACEMAKER_TOOLS if shutil.which(tool, path=tool_path()) is None]
    if not missing:
        return None
    return f"not installed: {', '.join(missing)} (Debian's packages are `pacemaker` and `pacemaker-cli-utils`)"


def libsam_missing() -> str | None:
    """Return why no C program on libsam can be compiled."""
    if shutil.which("gcc", path=tool_path()) and LIBSAM_HEADER.exists():
        return None
    return "not installed: gcc or libsam (Debian's packages are `gcc` and `libsam-dev`)"


def notifyd_missing() -> str | None:
    """Return why Corosync's notifier cannot be run."""
    is_there = shutil.which("corosync-notifyd", path=tool_path())
    return None if is_there else "not installed: corosync-notifyd (Debian's package has that name)"
