"""config/supervisord.conf: every service has its section, all alike, and the package has the same file."""

import configparser
import importlib.resources
from pathlib import Path

import pytest

from rondo.node.supervision import OPTIONAL, SERVICES

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture
def configuration() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read(REPOSITORY / "config" / "supervisord.conf")
    return parser


def test_the_package_holds_the_file_that_config_shows() -> None:
    packaged = (importlib.resources.files("rondo.node.supervision") / "supervisord.conf").read_text()
    assert packaged == (REPOSITORY / "config" / "supervisord.conf").read_text()


def test_every_service_has_a_section(configuration: configparser.RawConfigParser) -> None:
    programs = [name.removeprefix("program:") for name in configuration.sections() if name.startswith("program:")]
    assert programs == list(SERVICES)


def test_they_differ_in_the_order_of_stopping_alone(configuration: configparser.RawConfigParser) -> None:
    sections = [dict(configuration[f"program:{name}"]) for name in SERVICES]
    priorities = [int(section.pop("priority")) for section in sections]
    assert [section.pop("autostart", None) for section in sections if "autostart" in section] == [
        f"%(ENV_RONDO_START_{name.upper()})s" for name in OPTIONAL
    ]
    assert priorities == sorted(set(priorities)), "supervisord stops the highest first: clients before the ring"
    assert all(section == sections[0] for section in sections)


def test_a_killed_process_comes_back_and_a_bad_configuration_does_not(
    configuration: configparser.RawConfigParser,
) -> None:
    section = configuration["program:totem"]
    assert section["startsecs"] == "0"
    assert section["autorestart"] == "unexpected"
    assert section["exitcodes"] == "8"
