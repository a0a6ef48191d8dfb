"""The syntax of corosync.conf, and every way in which a file can fail to be one."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo.config.faults import ConfigError, Fault, Place
from rondo.config.parser import FAULTS_MAX, FILE_BYTES_MAX, Section, not_utf8, parse, read_text


def tree(section: Section) -> dict[str, object]:
    """The content of a section as plain values, with line numbers."""
    values = [(key, value.text, value.place.line) for key, value in section.values]
    return {"values": values, **{f"{s.name}@{s.place.line}": tree(s) for s in section.sections}}


def test_sections_values_comments_and_blank_lines() -> None:
    text = "# comment: no { value }\n\ntotem {\n\tversion : 2\r\n\n  interface{\n ttl:\t1\n }\n}\nlogging {\n}\n"
    assert tree(parse(text, "f")) == {
        "values": [],
        "totem@3": {"values": [("version", "2", 4)], "interface@6": {"values": [("ttl", "1", 7)]}},
        "logging@10": {"values": []},
    }


def test_a_value_reaches_to_the_end_of_its_line() -> None:
    root = parse("totem {\nkey: a:b {c} # d\n}", "f")
    assert [(key, value.text) for key, value in root.sections[0].values] == [("key", "a:b {c} # d")]


def test_a_section_in_one_line() -> None:
    assert tree(parse("nodelist { node { nodeid: 1 } }\ntotem { }\n", "f")) == {
        "values": [],
        "nodelist@1": {"values": [], "node@1": {"values": [("nodeid", "1", 1)]}},
        "totem@2": {"values": []},
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("totem {\nversion: 2\n", 1, "section 'totem' is not closed"),
        ("totem {\n interface {\n}\n", 2, "section 'interface' is not closed"),
        ("totem {\n interface {\n  ttl: 1\n}\n", 2, "section 'interface' is not closed"),
        (
            "totem {\n}\nlogging {\n  logfile: /x }\n",
            3,
            "is not closed; write the '}' of line 4 into a line of its own",
        ),
        ("totem {\n  }\n  interface {\n  }\n}\n", 5, "closes nothing (that at line 2 stands further in"),
        ("totem {\n}}}}}\nlogging {\n}\n}\n", 2, "'}' closes nothing, nor do 4 more"),
        (
            "totem\n{\n}\nnodelist:\n\n# x\n{\n}\n",
            1,
            "the '{' of section 'totem' stands on a line of its own (line 2), and",
        ),
        ("totem\n\nlogging {\n}\n}\n", 1, "'totem' is not understood"),
        ("totem {\n}\nlogging { # all\n}\n", 3, "'# all' is not understood; a comment must have a line of its own"),
        ("totem {\n} # end\n", 2, "'# end' is not understood; a comment must have a line of its own"),
        ("totem {\n// x\n}\n", 2, "'// x' is not understood; a comment begins with '#'"),
        ("totem {\nlogger_subsys: AMF {\n}\n}\n", 2, "'logger_subsys: AMF {': the name of a section is one word"),
        ("my section {\n}\n", 1, "the name of a section is one word"),
        ("totem {\n}\n}\n", 3, "'}' closes nothing"),
        ("totem\n", 1, "'totem' is not understood"),
        ("totem {\nversion 2\n}\n", 2, "'version 2' is not understood"),
        ("{\n}\n", 1, "'{' has no name of a section before it"),
        ("a {\n" * 20, 9, "nested more than 8 deep"),
        ("totem {\nkey: " + "x" * 9000 + "\n}", 2, "longer than 8192 characters"),
    ],
)
def test_what_cannot_be_understood_names_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "some.conf")
    fault = caught.value.faults[0]
    assert str(fault).startswith(f"some.conf:{line}: ")
    assert message in str(fault)
    assert fault.mend


def test_a_mistake_with_braces_is_told_once() -> None:
    for text in (
        "totem\n\t{\n version: 2\n }\nnodelist\n{\n node\n {\n nodeid: 1\n }\n}\n",
        "totem {\n}}}}}}}}}}\n",
        "totem {\n}\n}\n}\n",
        "totem\nversion: 2\n}\n",
        "{\nversion: 2\n}\n",
        "{ version: 2 }\n",
        "logging foo {\n}\n",
        "totem {\n interface: x {\n }\n}\n",
    ):
        with pytest.raises(ConfigError) as caught:
            parse(text, "f")
        assert len(caught.value.faults) == 1, (text, caught.value.faults)


def test_a_colon_before_the_brace_is_taken_as_corosync_takes_it() -> None:
    root = parse("totem: {\n interface : {\n  ttl: 1\n }\n}\n", "f")
    assert tree(root) == {"values": [], "totem@1": {"values": [], "interface@2": {"values": [("ttl", "1", 3)]}}}


def test_a_key_without_a_value_is_no_section() -> None:
    assert [(key, value.text) for key, value in parse("key:\nother: 1\n", "f").values] == [("key", ""), ("other", "1")]


def test_bytes_that_are_not_utf8_are_taken_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "corosync.conf"
    file.write_bytes(b"# caf\xe9\ntotem {\ncluster_name: caf\xe9\n}\n")
    text = read_text(str(file))
    assert parse(text, "f").sections[0].values[0][1].text.encode("utf-8", "surrogateescape") == b"caf\xe9"
    (warning,) = not_utf8(text, "f")
    assert (warning.severity, warning.place) == ("warning", Place("f", 1))
    assert warning.why == "is not UTF-8 here and in 1 more: the bytes are taken as they are"
    assert not_utf8("# café\n", "f") == []


def test_all_wrong_lines_are_told_up_to_a_bound() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("nonsense\n" * 1000, "f")
    assert [fault.place.line for fault in caught.value.faults if fault.place] == list(range(1, FAULTS_MAX + 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("totem {\n}\n".encode("utf-16"), ": is UTF-16, not UTF-8"),
        ("totem {\n}\n".encode("utf-16-le"), ": is UTF-16, not UTF-8"),
        ("totem {\n}\n".encode("utf-16-be"), ": is UTF-16, not UTF-8"),
        (b"totem {\r}\r", ":1: the lines end with CR alone"),
        (b"totem {\n\n\0}", ":3: holds a NUL byte"),
        (b"#" * (FILE_BYTES_MAX + 1), f": larger than {FILE_BYTES_MAX} bytes"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "corosync.conf"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_text(str(file))


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "corosync.conf"
    file.write_bytes(b"\xef\xbb\xbftotem {\n}\n")
    assert parse(read_text(str(file)), "f").sections[0].name == "totem"


def test_places_that_are_no_files(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "none", "no such file"),
        (fifo, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_text(str(path))


def test_a_message_stays_on_one_line_whatever_was_read() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("a\x1b[31m\x85b\u2028c\n", "new\nline.conf")
    assert str(caught.value.faults[0]).isprintable()


@given(st.text(st.sampled_from("ab{}:# \n\t\r\x00é"), max_size=200))
def test_any_text_is_a_tree_or_an_error_with_a_line(text: str) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        root = parse(text, "f")
    except ConfigError as error:
        faults = error.faults
    else:
        assert root.name == ""
    assert all(fault.place and 1 <= fault.place.line <= text.count("\n") + 1 for fault in faults)
