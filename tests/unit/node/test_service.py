"""What ends a service is said with the mend: on standard error, which has the last word, and in the configured log."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.config import ConfigError, Fault
from rondo.node import service as service_module
from rondo.node.exit_codes import EXIT_CONFIGURATION, EXIT_FATAL
from rondo.node.service import Service, Start, main


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` runs in the process of the tests, and others of them look into its entries in /proc."""
    monkeypatch.setattr(service_module, "keep_memory_private", lambda: None)
    monkeypatch.setattr(service_module, "set_process_name", lambda _name: None)


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


class NoRoomError(Exception):
    """A resource that a service needs and does not get."""


def failing(error: Exception) -> Callable[[Start], int]:
    def run(_start: Start) -> int:
        raise error

    return run


def arguments(directory: Path, to_stderr: str) -> list[str]:
    config = directory / "c.conf"
    config.write_text(
        "totem {\n transport: udpu\n secauth: off\n}\nnodelist {\n node {\n  ring0_addr: 127.0.0.1\n }\n}\n"
        f"logging {{\n to_stderr: {to_stderr}\n to_logfile: yes\n logfile: {directory}/node.log\n}}\n"
    )
    return ["-c", str(config), "--run-dir", str(directory / "run")]


@pytest.mark.parametrize("to_stderr", ["yes", "no"])
@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NoRoomError("no room; make some"), EXIT_FATAL, "no room; make some"),
        (
            ConfigError([Fault("error", None, "totem.x", "is wrong", "mend it")]),
            EXIT_CONFIGURATION,
            "totem.x: is wrong",
        ),
        (PermissionError(13, "Permission denied", "/some/file"), EXIT_FATAL, "/some/file: Permission denied; see"),
    ],
)
def test_a_fatal_error_is_on_standard_error_and_in_the_configured_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], to_stderr: str, error: Exception, code: int, text: str
) -> None:
    service = Service("cpg", "", failing(error), run_dir="sockets", lacking=(NoRoomError,))
    assert main(service, arguments(tmp_path, to_stderr)) == code
    said = [line for line in capfd.readouterr().err.splitlines() if text in line]
    assert len(said) == 1, "once, however much is logged to standard error"
    assert said[0].startswith(f"cpg: {text}")
    (logged,) = [line for line in (tmp_path / "node.log").read_text().splitlines() if text in line]
    assert " crit    [MAIN  ] " in logged


def test_a_fault_of_the_program_is_logged_with_its_place(tmp_path: Path) -> None:
    service = Service("cpg", "", failing(ZeroDivisionError("oh")), run_dir="sockets")
    with pytest.raises(ZeroDivisionError):
        main(service, arguments(tmp_path, "no"))
    (logged,) = [line for line in (tmp_path / "node.log").read_text().splitlines() if "crit" in line]
    assert "ZeroDivisionError('oh') ends the service." in logged
    assert "test_service.py" in logged
