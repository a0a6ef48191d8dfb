"""Which services are started at all, and why the others are not. Decided once, when the node starts."""

import importlib.util

from rondo.config import NodeConfig
from rondo.node.supervision import C_PROGRAMS, c_programs

WEB_PACKAGES = ("prometheus_client", "starlette", "uvicorn")
"""What `rondo[web]` installs."""


def off(config: NodeConfig, *, has_c_sockets: bool = False) -> dict[str, str]:
    """The services that are not started, with the reasons; an empty reason: not configured. `has_c_sockets`: root has
    made the sockets of C programs for this node."""
    found = {C_PROGRAMS: why} if (why := c_programs.why_off(config, is_handed=has_c_sockets)) else {}
    if not config.web.enabled:
        found["web"] = ""
    elif missing := [name for name in WEB_PACKAGES if importlib.util.find_spec(name) is None]:
        found["web"] = f"the package {missing[0]} is missing; pip install 'rondo[web]'"
    if not config.notify.enabled:
        found["notify"] = ""
    return found
