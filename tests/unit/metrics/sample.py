"""What the services of one node of three answered once, with knet and votequorum; cut to two links and one group."""

import copy
from typing import Any

from rondo.metrics.seen import Seen, Usage
from services.totem.node import BY_KEY
from services.totem.ring.counters import Counters
from services.totem.ring.rotation_times import RotationTimes

COUNTERS = [name for name in Counters.__dataclass_fields__ if name not in BY_KEY]


def _rotations() -> dict[str, object]:
    times = RotationTimes()
    for took_ns in (70_000, 200_000, 200_000, 21_000_000, 9_000_000_000):
        times.add(took_ns)
    return times.status()


def _link(node: int, *, up: bool) -> dict[str, Any]:
    traffic = {
        f"{way}_{kind}": 7 for way in ("tx", "rx") for kind in ("data", "ping", "pong", "pmtu", "bytes", "errors")
    }
    return {
        "link": 0, "remote": f"10.0.0.{node}", "local": "10.0.0.1", "port": 5405, "up": up, "since_ms": 10, "mtu": 1397,
        "latency_us": 250, "priority": 1, "ups": 1, "downs": 3, **traffic,
    }  # fmt: skip


_TOTEM: dict[str, Any] = {
    "state": "operational",
    "ring": {"representative": 1, "sequence": 117_699_360_563_287},
    "members": [1, 2],
    "rondo_members": [1, 2],
    "absent": [{"node": 3, "seconds": 12.5, "seen": True}],
    "node": 1,
    "syncing": False,
    "window_size": 400,
    "max_messages": 30,
    "accelerated": True,
    "token_age_ms": 40,
    "send_queue": {"packets": 3, "packets_max": 2048},
    "security": {
        "suite": "aes256-gcm",
        "key_fingerprint": "6f0c:aa00",
        "key_in_use": 1,
        "keys": [1, 2],
        "fingerprints": ["6f0c:aa00", "6f0c:aa01"],
    },
    "forward_secrecy": {"mode": "auto", "on": True, "why": "", "nodes_without": [], "nodes_refused": []},
    "processors_awake": False,
    "deaf": [3],
    "rotation_us": 2177,
    "rotations": _rotations(),
    "counters": {
        **dict.fromkeys(COUNTERS, 2),
        "operational_token_lost": 5,
        "frame_bytes_tx": 1000,
        "frame_bytes_rx": 3000,
        "rx_dropped_by_kernel": 4,
        "knet_doubts": 42,
        "security_wrong_key": 9,
    },
    "log": {"head": 59, "acknowledged": 59, "bytes": 10},
    "control": {"committed": 57, "bytes": 20},
    "paths": {"2": {"path": "good", "passes": 0, "asked": 1}, "3": {"path": "loses_large", "passes": 1300, "asked": 1}},
    "links": {"2": [_link(2, up=True)], "3": [_link(3, up=False)]},
    "strangers": [{"address": "10.9.9.9", "why": "it is a stranger", "seconds_ago": 1.0}],
    "sent_again": {"packets": {"2": 11, "3": 4}, "tokens": {"2": 1}},
    "dropped": {"bad_version": 6},
    "not_scheduled": 1,
    "brake_pauses": 0,
}
_QUORUM: dict[str, Any] = {
    "provider": "corosync_votequorum", "quorate": True, "ring": {"representative": 1, "sequence": 8}, "node": 1,
    "expected_votes": 3, "highest_expected": 3, "total_votes": 2, "quorum": 2, "flags": ["quorate", "wait_for_all"],
    "nodes": [
        {"node": 1, "state": "member", "votes": 1, "expected_votes": 3},
        {"node": 2, "state": "member", "votes": 1, "expected_votes": 3},
        {"node": 3, "state": "dead", "votes": 1, "expected_votes": 3},
    ],
}  # fmt: skip
ANSWERS: dict[str, dict[str, Any]] = {
    "totem": _TOTEM,
    "cpg": {
        "state": "operational", "position": 59, "acked": 50, "held_bytes": 100, "sessions": 1, "log_lines_dropped": 0,
        "groups": [
            {
                "group": "bank", "members": [{"node": 1, "pid": 5}, {"node": 2, "pid": 6}], "messages": 70,
                "message_bytes": 7000,
            }
        ],
        "functions": [[1, 2], [0, 0], [1, 3], [50, 70], [0, 0], [0, 0], [0, 0]],
        "users": [{"uid": 1000, "sessions": 1, "groups": 1, "queued_bytes": 8, "event_bytes": 9}],
        "counters": {"requests": 2, "sessions_cut": 1},
    },
    "control": {
        "state": "operational", "commits": 23, "watches": 3, "keys": 51, "config_versions": {"1": 4, "2": 5},
        "quorate": True, "quorum": _QUORUM, "differing": {"2": ["totem", "nodelist"]}, "is_reloading": False,
        "shutdown_trackers": 1, "samples_waiting": 0,
        "counters": {"requests": 25, "ignored: malformed": 3},
    },
    "ipc_gateway": {
        "state": "operational", "counters": {"sessions": 2, "connections": 7, "silent_ended": 1},
        "sessions": [
            {"connected": True, "in_flight_bytes": 10},
            {"connected": False, "in_flight_bytes": 200},
        ],
    },
    "qb_gateway": {
        "state": "operational", "counters": {"accepted": 1},
        "connections": [{"service": "CPG", "events_waiting": 4, "flow_control": True}],
    },
    "web": {"state": "operational", "counters": {"refused_host": 1}, "nodes_known": [2]},
    "notify": {"state": "operational", "counters": {"told": 1}, "waiting": 2},
    "sam": {
        "state": "operational", "applications": {"started": 2, "failed": 1}, "counters": {"starts": 3, "restarts": 4},
        "keeper_pid": 77, "processes_not_shown": 0,
    },
}  # fmt: skip
for _answer in ANSWERS.values():
    _answer["code"] = "compiled"


def seen() -> Seen:
    """A node whose cpg was started again twice and whose SAM does not run; what is changed in it changes no other."""
    services = {
        name: {"pid": 100 + number, "state": "running", "restarts": 2 if name == "cpg" else 0, "last_end": ""}
        for number, name in enumerate(ANSWERS)
    }
    services["sam"]["state"] = "restarting"
    services["web"]["why"] = "127.0.0.1:5480: Address already in use"
    status = {
        "state": "operational", "supervisor": {"pid": 99, "state": "running"}, "services": services, "absent": [],
    }  # fmt: skip
    usage = {name: Usage(1.5, 27_000_000, 1_795_950_127.87) for name in ("supervisord", "totem")}
    return Seen(status, copy.deepcopy(ANSWERS), usage, None)
