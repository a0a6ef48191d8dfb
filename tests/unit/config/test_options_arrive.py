"""An option that is declared reaches what the node runs with, and the ring, without anybody who hands it on by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rondo.config.node import NodeConfig, QuorumSettings
from rondo.config.option import bounds, choices, extra, subsection
from rondo.config.reader import load_text
from rondo.config.resolver import resolve_as_first_node
from rondo.config.schema_node import Config
from services.control import setup
from services.totem.ring.options import RingOptions
from services.totem.settings import CONFIGURED, ring_options
from tests.unit.config.test_checks import NODES, totem

TESTED_WITH_ITS_RULES = {
    "version", "secauth", "keyfile", "key", "ip_version", "nodeid", "clear_node_high_bit", "link_mode",
    "expected_votes", "votes", "wait_for_all", "auto_tie_breaker_node", "cpu_affinity", "cluster_name", "state_dir",
}  # fmt: skip
"""In test_resolver.py, test_knet.py and test_quorum.py: what these mean depends on more than themselves."""


ALLOWED = {"consensus": 5000, "token_retransmit": 500, "client_bytes_max": 8 << 20}
"""Of options that follow from others: what these others allow, and is not what follows."""

THREE_NODES = NODES.replace("nodelist {", "nodelist {\n node {\n  nodeid: 3\n  ring0_addr: 10.0.0.3\n }", 1)
"""token_coefficient counts from the third one on."""


def _declared() -> list[tuple[str, str]]:
    """Numbers, switches and words of the sections of which every node has one."""
    return [
        (section_name, name)
        for section_name in ("totem", "quorum", "system", "cpg", "sam")
        if (section := subsection(Config.model_fields[section_name])) is not None
        for name, field in section.model_fields.items()
        if not extra(field, "ignored") and not extra(field, "refused") and subsection(field) is None
        if not name.startswith("knet_") and name not in TESTED_WITH_ITS_RULES
    ]


def _another(section: str, name: str) -> str:
    """A value as it is written that is not the default."""
    model = subsection(Config.model_fields[section])
    assert model is not None
    field = model.model_fields[name]
    default = field.default
    if words := choices(field):
        return next(word for word in words if word != default)
    if isinstance(default, bool):
        return ("0" if default else "1") if section == "quorum" else ("no" if default else "yes")
    low, high = bounds(field)
    assert low is not None, f"say in TESTED_WITH_ITS_RULES where {section}.{name} is tested"
    if default is None:
        return str(max(low, ALLOWED.get(name, 0)))
    return str(default + 1 if high is None or default < high else default - 1)


def _node(section: str, *lines: str, nodes: str = THREE_NODES) -> NodeConfig:
    in_totem = lines if section == "totem" else ()
    more = "" if section == "totem" else f"{section} {{\n" + "".join(f" {line}\n" for line in lines) + "}\n"
    return resolve_as_first_node(load_text(totem(*in_totem, nodes=nodes) + more, "f", node_id=1))


@pytest.mark.parametrize(("section", "name"), _declared(), ids=str)
def test_every_option_makes_a_difference_to_the_node(section: str, name: str) -> None:
    lines = [f"{name}: {_another(section, name)}"]
    assert _node(section, *lines) != _node(section), f"{section}.{name} needs a field of NodeConfig"


def test_every_field_of_that_name_reaches_the_ring() -> None:
    """Each field alone: with another value of it the ring is made with another value."""
    node = _node("totem")
    plain = ring_options(node)
    for name in CONFIGURED:
        value: Any = getattr(node, name)
        other = not value if isinstance(value, bool) else {3: ("10.0.0.3",)} if name == "members" else value + 1
        with_other: dict[str, Any] = {name: other}
        made = ring_options(dataclasses.replace(node, **with_other))
        changed = {
            field.name for field in dataclasses.fields(made) if getattr(made, field.name) != getattr(plain, field.name)
        }
        assert changed == {name}


def test_what_the_ring_has_beside_that_is_its_hosts() -> None:
    """A field that is written otherwise in one of the two records would silently keep the ring's default."""
    not_configured = {field.name for field in dataclasses.fields(RingOptions)}.difference(CONFIGURED)
    assert not_configured == {
        "large_packet_bytes", "large_in_segments", "marked_segments", "sync_services", "initial_sequence",
        "like_corosync",
    }  # fmt: skip


def test_the_rings_defaults_are_those_that_are_declared() -> None:
    """As they are for a cluster of two nodes; what all members have to agree to is off until they do."""
    agreed = {"members", "wide_windows", "early_hold", "large_packets"}
    node = _node("totem", nodes=NODES)
    for name in set(CONFIGURED) - agreed:
        assert getattr(RingOptions(), name) == getattr(node, name), name


def test_every_option_of_quorum_reaches_votequorum() -> None:
    node = dataclasses.replace(_node("totem"), quorum=QuorumSettings(enabled=True))
    plain = setup.setup_of(node).options
    assert plain is not None
    own = {"enabled", "node_votes"}
    for name in {field.name for field in dataclasses.fields(QuorumSettings)} - own:
        value = getattr(node.quorum, name)
        other: Any = not value if isinstance(value, bool) else "1 2" if isinstance(value, str) else value + 1
        changes: dict[str, Any] = {name: other}
        made = setup.setup_of(dataclasses.replace(node, quorum=dataclasses.replace(node.quorum, **changes))).options
        assert made == dataclasses.replace(plain, **changes)
    assert {field.name for field in dataclasses.fields(plain)}.difference(setup.CONFIGURED) == {
        "provider",
        "has_device",
    }
