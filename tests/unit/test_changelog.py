"""The changelog begins with the version that the package has, and every version has a date."""

import re
from datetime import date
from pathlib import Path

import rondo

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def test_every_release_has_a_version_and_a_date_and_the_first_is_this_one() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG.read_text(), re.MULTILINE)
    releases = [heading.split(" - ") for heading in headings]
    versions = [tuple(map(int, version.split("."))) for version, _ in releases]
    dates = [date.fromisoformat(day) for _, day in releases]
    assert releases[0][0] == rondo.__version__
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)
