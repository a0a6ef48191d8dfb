"""A need that is not met skips the test, and fails it where CI=true."""

import pytest

from tests.conftest import need

REASON = "no such thing here"


def test_what_is_missing_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"^{REASON}$"):
        need(lambda: REASON)


def test_what_is_missing_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"^{REASON}, and with CI=true nothing may be missing$"):
        need(lambda: REASON)


@pytest.mark.parametrize("ci", ["true", "false"])
def test_what_is_there_goes_on(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    need(lambda: None)
