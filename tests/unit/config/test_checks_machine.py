"""What a machine lacks is found by the check, and not by a start that fails."""

import os
import socket
from pathlib import Path

import pytest

from rondo.config import checks_machine, interfaces, resolve
from rondo.config.reader import load, load_text
from rondo.paths import AnyPath
from tests.unit.config.machines import FakeMachine
from tests.unit.config.test_checks import totem

SECURE = totem()
PLAIN = totem("secauth: off")
MULTICAST = "totem {\n transport: udp\n secauth: off\n interface {\n  bindnetaddr: %s\n  mcastaddr: 239.1.1.1\n }\n}\n"


def warnings(text: str, file: AnyPath = "/etc/corosync.conf", machine: FakeMachine | None = None) -> list[str]:
    machine = machine or FakeMachine()
    loaded = load_text(text, str(file), node_id=1)
    own = machine.interface_addresses()
    return [str(fault) for fault in checks_machine.check_machine(loaded, resolve(loaded, machine), own)]


def logging(*lines: str) -> str:
    return PLAIN + "\n".join(["logging {", *lines, "}", ""])


def test_a_good_file_has_no_warnings(tmp_path: Path) -> None:
    assert warnings(logging("to_logfile: yes", f"logfile: {tmp_path}/c.log")) == []


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, message in (
        ("/nowhere/c.log", "/nowhere/c.log: its directory does not exist, the start will fail; mkdir -p /nowhere"),
        (f"{tmp_path}/file/c.log", "its directory is not a directory"),
        (str(tmp_path), "is a directory; name a file in it"),
    ):
        (warning,) = warnings(logging("to_logfile: yes", f"logfile: {path}"))
        assert ": logging.logfile: " in warning
        assert message in warning


def test_the_log_of_one_subsystem_is_named_where_it_stands() -> None:
    text = logging("logger_subsys {", " subsys: CPG", " to_logfile: yes", " logfile: /nowhere/cpg.log", "}")
    (warning,) = warnings(text)
    assert warning.startswith("/etc/corosync.conf:19: logging.logger_subsys.logfile: /nowhere/cpg.log: its directory")


def test_a_relative_path_lies_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "corosync.conf"
    file.write_text(
        totem("keyfile: k") + "logging {\n to_logfile: yes\n logfile: c.log\n}\nsystem {\n state_dir: s\n}\n"
        "remote {\n address: 10.0.0.1\n keyfile: r\n clients: ../cl\n}\n"
    )
    os.environ.pop("RONDO_STATE_DIR", None)
    node = resolve(load(file, node_id=1), FakeMachine())
    assert node.log_settings("totem").logfile == f"{tmp_path}/c.log"
    assert node.security.key_file == f"{tmp_path}/k"
    assert node.state_dir == f"{tmp_path}/s"
    assert (node.remote.key_file, node.remote.clients_file) == (f"{tmp_path}/r", f"{tmp_path.parent}/cl")


def test_a_key_that_is_not_there_or_that_others_may_read(tmp_path: Path) -> None:
    (warning,) = warnings(totem(f"keyfile: {tmp_path}/key"))
    assert f"totem.keyfile: {tmp_path}/key: there is no key; make a key with: rondo keygen" in warning
    (tmp_path / "key").write_bytes(b"k" * 256)
    (tmp_path / "key").chmod(0o644)
    (warning,) = warnings(totem(f"keyfile: {tmp_path}/key"))
    assert "others have access to the key" in warning
    (tmp_path / "key").chmod(0o400)
    assert warnings(totem(f"keyfile: {tmp_path}/key")) == []


def test_files_of_remote_clients(tmp_path: Path) -> None:
    lines = f" keyfile: {tmp_path}/none\n clients: {tmp_path}\n"
    first, second = warnings(f"{PLAIN}remote {{\n address: 10.0.0.1\n{lines}}}\n")
    assert "remote.keyfile: " in first
    assert "No such file or directory" in first
    assert "remote.clients: " in second
    assert "is no regular file" in second


@pytest.mark.parametrize("to_stderr", [True, False])
def test_syslog_where_nobody_listens(to_stderr: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "log"
    monkeypatch.setattr(checks_machine, "SYSLOG_SOCKET", str(place))
    text = logging("to_syslog: yes", f"to_stderr: {'yes' if to_stderr else 'no'}")
    (warning,) = warnings(text)
    assert "logging.to_syslog: nothing listens on" in warning
    assert ("standard error is used" in warning) is not to_stderr
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place))
        assert warnings(text) == []
    assert len(warnings(text)) == 1  # the socket's file is there still, and nobody behind it


def test_of_several_addresses_in_a_network_one_is_taken_and_shown() -> None:
    machine = FakeMachine(addresses=("10.0.0.5/24", "10.0.0.6/24", "10.1.0.1/24"))
    node = resolve(load_text(MULTICAST % "10.0.0.0", "f"), machine)
    assert (node.bindnetaddr, node.local_address) == ("10.0.0.5", "10.0.0.5")
    (warning,) = warnings(MULTICAST % "10.0.0.0", "f", machine)
    assert warning == (
        "f:5: totem.interface.bindnetaddr: this machine has 2 addresses in that network; 10.0.0.5 is taken; "
        "write the address that is meant: 10.0.0.5, 10.0.0.6"
    )
    assert warnings(MULTICAST % "10.0.0.6", "f", machine) == []
    assert warnings(MULTICAST % "10.1.0.0", "f", machine) == []


def test_an_interface_that_is_up_goes_first() -> None:
    class Machine(FakeMachine):
        def interface_addresses(self) -> list[interfaces.InterfaceAddress]:
            first, *rest = super().interface_addresses()
            return [interfaces.InterfaceAddress("eth0", first.address, first.network, up=False), *rest]

    machine = Machine(addresses=("10.0.0.5/24", "10.0.0.6/24"))
    assert resolve(load_text(MULTICAST % "10.0.0.0", "f", node_id=7), machine).bindnetaddr == "10.0.0.6"


def test_loopback_is_up_on_this_machine() -> None:
    assert any(each.up for each in interfaces.interface_addresses() if each.name == "lo" and each.address.version == 4)
