"""Reads corosync.conf for a running node, in a separate process: the new configuration, or why it is invalid.

    python -m rondo.config.candidate < RUNNING > CANDIDATE

Both are msgpack: the running configuration, as NodeConfig packs it, and a map `{"config", "changed", "faults"}`. The
parser and pydantic are large and slow to load, so no service loads them. Whatever a file does to them affects only this
process.
"""

import sys

from rondo.config.changes import carried_over, changed, refused
from rondo.config.faults import ConfigError, Fault
from rondo.config.node import NodeConfig, NodeConfigError
from rondo.config.reader import load
from rondo.config.resolver import resolve
from rondo.protocol.envelope import pack

FAULTS_MAX = 8
"""How many faults are reported; the first ones tell what is wrong with the file."""


def candidate(packed: bytes) -> dict[str, object]:
    """`config`: the candidate, packed, or None; `changed`: names of options; `faults`: texts with file and line."""
    try:
        running = NodeConfig.from_msgpack(packed)
        if not running.config_file:
            return _refusal(["this node runs without a configuration file; start it with one"])
        loaded = load(running.config_file, node_id=running.node_id)
        new = carried_over(running, loaded, resolve(loaded, state_dir=running.state_dir))
    except ConfigError as error:
        return _refusal([str(fault) for fault in error.faults if fault.severity == "error"])
    except (OSError, NodeConfigError) as error:
        return _refusal([str(error)])
    faults: list[Fault] = refused(running, loaded, new)
    if faults:
        return _refusal([str(fault) for fault in faults])
    return {"config": new.to_msgpack(), "changed": changed(running, new), "faults": []}


def _refusal(faults: list[str]) -> dict[str, object]:
    return {"config": None, "changed": [], "faults": faults[:FAULTS_MAX]}


if __name__ == "__main__":
    sys.stdout.buffer.write(pack(candidate(sys.stdin.buffer.read())))
