"""Every event of the time line, declared once. docs/EVENTS.md is generated from this, and tests compare it with the
source.

Names of events and of details are stable. The words of log lines may change, and the patterns here with them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event."""

    name: str
    meaning: str
    source: str
    """The process in whose log it is."""
    pattern: str
    """A regular expression for the whole text of the line; its named groups are the details."""
    example: str
    """A line's text."""
    written_in: str
    """The source file that writes it."""
    words: str
    """The text in that source file."""


_RING = "services/totem/logtext.py"
_LINK = "services/totem/transport/link.py"
_KNET = "services/totem/transport/knet_link.py"
_PATHS = "services/totem/transport/neighbours.py"
_SAM = "services/sam/manager.py"
_PLUGIN = "rondo/node/supervision/plugin.py"
_APPLICATION = r"(?P<application>\S+): instance (?P<instance>\d+)"

KINDS = (
    Kind(
        "ring.formed", "a ring was installed; who came and who went", "totem",
        r"A new membership \((?P<ring>\S+)\) was formed\. Members"
        r"(?: joined: (?P<joined>[\d ]+?))?(?: left: (?P<left>[\d ]+))?",
        "A new membership (1.8) was formed. Members joined: 2 left: 3", _RING,
        "A new membership ({event.ring}) was formed. Members",
    ),
    Kind(
        "ring.ready", "its services are in step: the node does its work in that ring", "totem",
        r"Completed service synchronization, ready to provide service\.",
        "Completed service synchronization, ready to provide service.", _RING,
        "Completed service synchronization, ready to provide service.",
    ),
    Kind(
        "ring.token_lost", "no token came for the token time-out", "totem",
        r"A processor failed, forming new configuration\.", "A processor failed, forming new configuration.", _RING,
        "A processor failed, forming new configuration.",
    ),
    Kind(
        "ring.token_late", "the token is late", "totem", r"Token has not been received in (?P<ms>\d+) ms",
        "Token has not been received in 750 ms", _RING, "Token has not been received in {ms} ms",
    ),
    Kind(
        "ring.silent", "nodes are gone without a word", "totem",
        r"Failed to receive the leave message\. failed: (?P<nodes>[\d ]+)",
        "Failed to receive the leave message. failed: 3", _RING,
        "Failed to receive the leave message. failed: {_nodes(nodes)}",
    ),
    Kind(
        "ring.no_agreement", "nodes were heard of and did not agree in time", "totem",
        r"No agreement with nodes (?P<nodes>[\d ]+), they are out\.", "No agreement with nodes 3, they are out.", _RING,
        "No agreement with nodes {_nodes(nodes)}, they are out.",
    ),
    Kind(
        "ring.failed_to_receive", "this node cannot get packets that the others have", "totem", r"FAILED TO RECEIVE",
        "FAILED TO RECEIVE", _RING, "FAILED TO RECEIVE",
    ),
    Kind(
        "ring.cannot_form", "rings are tried again and again in vain", "totem",
        r"Totem is unable to form a cluster because of an operating system or network fault\..*",
        "Totem is unable to form a cluster because of an operating system or network fault. ", _RING,
        "Totem is unable to form a cluster because of an operating system or network fault. ",
    ),
    Kind(
        "node.leaves", "another node was stopped in order", "totem", r"Node (?P<node>\d+) leaves\.",
        "Node 3 leaves.", _RING, "Node {node} leaves.",
    ),
    Kind(
        "node.left", "this node left its ring in order", "totem", r"Left the ring\.", "Left the ring.",
        "services/totem/process.py", "Left the ring.",
    ),
    Kind(
        "node.paused", "this node stood still, and what the others said meanwhile is old", "totem",
        r"Process pause detected for (?P<ms>\d+) ms, flushing membership messages\.",
        "Process pause detected for 2083 ms, flushing membership messages.", _RING,
        "Process pause detected for {ms} ms, flushing membership messages.",
    ),
    Kind(
        "node.not_scheduled", "the ring process was not given a processor", "totem",
        r"Rondo's totem process was not scheduled for (?P<ms>[\d.]+) ms .*",
        "Rondo's totem process was not scheduled for 1773.4215 ms (threshold is 1600.0000 ms). ",
        "services/totem/process.py",
        "Rondo's totem process was not scheduled for %0.4f ms (threshold is %0.4f ms). ",
    ),
    Kind(
        "node.isolated", "this node's address is not there", "totem",
        r"This node is isolated: (?P<why>.*)\. It goes on trying\.",
        "This node is isolated: no interface has 10.0.0.1. It goes on trying.", _LINK,
        "This node is isolated: %s. It goes on trying.",
    ),
    Kind(
        "node.refused", "packets of a node that cannot be in this ring were refused", "totem",
        r"Packet ignored\. It came from (?P<address>.*?): (?P<why>.*)",
        "Packet ignored. It came from 10.0.0.9: its node id 9 is not in the nodelist.", "services/totem/strangers.py",
        "Packet ignored. It came from %s: %s.%s",
    ),
    Kind(
        "node.port_closed", "nobody listens on another node's port", "totem",
        r"Node (?P<node>\d+) \((?P<address>\S+)\) takes no packets at port (?P<port>\d+): .*",
        "Node 2 (10.0.0.2) takes no packets at port 5405: it does not run, or has another mcastport.", _LINK,
        "Node %d (%s) takes no packets at port %d: it does not run, or has another mcastport.",
    ),
    Kind(
        "interface.up", "the node can reach others", "totem",
        r"The network interface \[(?P<address>.*)\] is now up\.", "The network interface [10.0.0.1] is now up.", _LINK,
        "The network interface [%s] is now up.",
    ),
    Kind(
        "interface.down", "it cannot any more", "totem", r"The network interface \[(?P<address>.*)\] is now down\.",
        "The network interface [10.0.0.1] is now down.", _LINK, "The network interface [%s] is now down.",
    ),
    Kind(
        "link.up", "a link of knet is up", "totem", r"rx: host: (?P<node>\d+) link: (?P<link>\d+) is up",
        "rx: host: 2 link: 0 is up", _KNET, "rx: host: %d link: %d is up",
    ),
    Kind(
        "link.down", "it is down", "totem", r"link: host: (?P<node>\d+) link: (?P<link>\d+) is down",
        "link: host: 2 link: 0 is down", _KNET, "link: host: %d link: %d is down",
    ),
    Kind(
        "link.none", "no link to a node is left", "totem", r"host: host: (?P<node>\d+) has no active links",
        "host: host: 2 has no active links", _KNET, "host: host: %d has no active links",
    ),
    Kind(
        "path.loses_large", "large packets to a node are lost", "totem",
        r"Packets > (?P<bytes>\d+) bytes to node (?P<node>\d+) are lost; .*",
        "Packets > 1372 bytes to node 3 are lost; full ones have 1500. Mend the path (MTU, tunnel, ", _PATHS,
        "Packets > {passes} bytes to node {node} are lost; full ones have {size_max}. Mend the path (MTU, tunnel, ",
    ),
    Kind(
        "path.no_multicast", "multicast to a node is lost", "totem",
        r"Multicast packets to node (?P<node>\d+) are lost, .*",
        "Multicast packets to node 3 are lost, while unicast packets reach it. Switches may miss an IGMP ", _PATHS,
        "Multicast packets to node {node} are lost, while unicast packets reach it. Switches may miss an IGMP ",
    ),
    Kind(
        "path.good", "packets of full size pass again", "totem",
        r"Packets of full size \(\d+ bytes\) reach node (?P<node>\d+) again\.",
        "Packets of full size (1500 bytes) reach node 3 again.", _PATHS,
        "Packets of full size ({size_max} bytes) reach node {node} again.",
    ),
    Kind(
        "key.changed", "a step of `rondo key`", "totem", r"The key (?P<key>[0-9a-f:]+) is (?P<what>.*)\.",
        "The key 6f0c:aa00 is in use.", "services/totem/key_changes.py", "The key %s %s.",
    ),
    Kind(
        "quorum.gained", "this node may act", "control",
        r"This node is within the primary component and will provide service\.",
        "This node is within the primary component and will provide service.", "services/control/told.py",
        "This node is within the primary component and will provide service.",
    ),
    Kind(
        "quorum.lost", "it must not any more", "control",
        r"This node is within the non-primary component and will NOT provide any services\.",
        "This node is within the non-primary component and will NOT provide any services.", "services/control/told.py",
        "This node is within the non-primary component and will NOT provide any services.",
    ),
    Kind(
        "client.cut", "an application did not take its events and was disconnected", "ipc_gateway",
        r"session [0-9a-f]+ of (?P<client>.*?): cut off: (?P<why>.*)",
        "session 00000000000000a1 of app (pid 77, uid 0): cut off: it holds back too much",
        "services/ipc_gateway/sessions.py", "session %016x of %s: cut off: %s",
    ),
    Kind(
        "client.denied", "somebody who may not connect tried to", "ipc_gateway",
        r"access denied to a client \((?P<client>.*?), group \d+; .*",
        "access denied to a client (pid 7, uid 9, group 9; 3 so far); uidgid{} in corosync.conf says who is let in",
        "services/ipc_gateway/process.py",
        "access denied to a client (%s, group %d; %d so far); %s in corosync.conf says who is let in",
    ),
    Kind(
        "client.hung_up", "a C program was hung up", "qb_gateway", r"(?P<client>.*): hung up: (?P<why>.*)",
        "process 77 (CPG): hung up: its ring is broken", "services/qb_gateway/hub.py", "%s: hung up: %s",
    ),
    Kind(
        "application.started", "an application under SAM runs", "sam", rf"{_APPLICATION} runs as process (?P<pid>\d+)",
        "server-1: instance 0 runs as process 77", _SAM, "%s: instance %d runs as process %d",
    ),
    Kind(
        "application.event", "it hung, failed, was stopped or ended, and how", "sam",
        rf"{_APPLICATION} \(process (?P<pid>\d+)\) (?P<what>.*)",
        "server-1: instance 2 (process 77) hung: silent for more than 1000 ms; was ended by SIGKILL", _SAM,
        "%s: instance %d (process %d) %s",
    ),
    Kind(
        "sam.paused", "SAM or the machine stood still", "sam", r"SAM was paused for (?P<seconds>[\d.]+) s; .*",
        "SAM was paused for 3.2 s; its applications get that time, too", "services/sam/process.py",
        "SAM was paused for %.1f s; its applications get that time, too",
    ),
    Kind(
        "sam.keeper_killed", "the parent of the applications was killed", "sam", r"The keeper was killed; .*",
        "The keeper was killed; its applications go on, but how they end will not be known", _SAM,
        "The keeper was killed; its applications go on, but how they end will not be known",
    ),
    Kind(
        "process.started", "a process of the node was started", "supervisord",
        r"spawned: '(?P<process>\w+)' with pid (?P<pid>\d+)", "spawned: 'cpg' with pid 23993", "", "",
    ),
    Kind(
        "process.ended", "a process of the node has ended", "supervisord",
        r"(?:exited|stopped): (?P<process>\w+) \((?P<how>.*)\)",
        "exited: cpg (terminated by SIGKILL; not expected)", "", "",
    ),
    Kind(
        "process.hung", "it did not move, and is killed", "supervisord",
        r"(?P<process>\w+) \(process (?P<pid>\d+)\) has not moved for (?P<ms>\d+) ms .*",
        "cpg (process 77) has not moved for 5000 ms ", "rondo/node/supervision/heartbeats.py",
        "{process.config.name} (process {process.pid}) has not moved for {self._watchdog.timeout_s * 1000:.0f} ms ",
    ),
    Kind(
        "node.started", "the node was started", "supervisord", r"supervisord started with pid (?P<pid>\d+)",
        "supervisord started with pid 23756", "", "",
    ),
    Kind(
        "node.stopping", "the node is being stopped", "supervisord",
        r"received (?P<signal>SIG\w+) indicating exit request", "received SIGTERM indicating exit request", "", "",
    ),
    Kind(
        "node.gave_up", "a service is beyond help, and the node stops", "supervisord", r"(?P<why>.*); the node stops",
        "totem exited with 8: no key; the node stops", _PLUGIN, "{self._record.failure}; the node stops",
    ),
)  # fmt: skip
