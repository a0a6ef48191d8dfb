"""The syntax of corosync.conf: sections in braces, `key: value` lines, comment lines; nothing about what they mean.

Each line is blank, a comment (its first character is `#`), the opening of a section (`name {`), a `key: value` pair or
the end of a section (`}`). A section may also be written in one line: `node { nodeid: 1 }`. A value reaches to the end
of its line, so that no comment can follow it. Every key and section keeps its place, for messages that are made later.
"""

import os
import re
import stat
from dataclasses import dataclass, field

from rondo.config.faults import ConfigError, Fault, Place, quoted

FILE_BYTES_MAX = 1024 * 1024
"""A nodelist of 384 nodes has some 40 KiB."""

DEPTH_MAX = 8
"""corosync.conf needs three levels (totem, interface, member)."""

LINE_CHARACTERS_MAX = 8192
"""The longest value is a key of 4096 bytes."""

FAULTS_MAX = 20
"""After so many lines that cannot be understood the rest is not looked at: it is not a corosync.conf."""

OPENING = re.compile(r"([A-Za-z0-9_.\-]+)\s*\{(.*)", re.DOTALL)
PAIR = re.compile(r"([^\s:{}]+)\s*:(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Value:
    """The text of a value, blanks around it taken off."""

    text: str
    place: Place


@dataclass(slots=True)
class Section:
    """A section's keys and sub-sections in the order of the file; either may come more than once."""

    name: str
    place: Place
    values: list[tuple[str, Value]] = field(default_factory=list)
    sections: list["Section"] = field(default_factory=list)


def read_text(file: str) -> str:
    """The text of a configuration file. Raises ConfigError for everything that keeps it from being one."""

    def refuse(why: str, mend: str, line: int = 0) -> ConfigError:
        return ConfigError([Fault("error", Place(file, line), "", why, mend)])

    try:
        # O_NONBLOCK: to open a named pipe without a writer must not hang.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise refuse("not a regular file", "name a corosync.conf")
            content = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise refuse("no such file", "name the configuration with -c or COROSYNC_MAIN_CONFIG_FILE") from None
    except IsADirectoryError:
        raise refuse("is a directory", "name the file in it") from None
    except PermissionError:
        raise refuse("permission denied", "make it readable for the user that runs Rondo") from None
    except (OSError, ValueError) as error:
        raise refuse(getattr(error, "strerror", None) or str(error), "name a file that can be read") from None
    if len(content) > FILE_BYTES_MAX:
        raise refuse(f"larger than {FILE_BYTES_MAX} bytes", "name a corosync.conf")
    if (nul := content.find(b"\0")) >= 0:
        raise refuse("holds a NUL byte", "remove it", content.count(b"\n", 0, nul) + 1)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refuse("is not UTF-8 here", "store the file as UTF-8", line) from None


def parse(text: str, file: str) -> Section:
    """The tree of the sections of `text`; its root has no name. Raises ConfigError with every line that is wrong."""
    return _Parser(file).parse(text)


class _Parser:
    def __init__(self, file: str) -> None:
        self.file = file
        self.root = Section("", Place(file))
        self.open = [self.root]
        self.faults: list[Fault] = []

    def parse(self, text: str) -> Section:
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip()
            if line and not line.startswith("#"):
                self._take(line, Place(self.file, number))
            if len(self.faults) >= FAULTS_MAX:
                break
        else:
            for section in self.open[1:]:
                self._fault(section.place, f"section {quoted(section.name)} is not closed", "end it with a line '}'")
        if self.faults:
            raise ConfigError(self.faults)
        return self.root

    def _take(self, line: str, place: Place) -> None:
        """One line. What follows an opening brace on it is taken as if it stood on lines of its own."""
        if len(line) > LINE_CHARACTERS_MAX:
            self._fault(place, f"longer than {LINE_CHARACTERS_MAX} characters", "this is not a line of a corosync.conf")
            return
        opened_here = 0
        while line and len(self.faults) < FAULTS_MAX:
            if match := OPENING.fullmatch(line):
                self._open_section(match[1], place)
                opened_here += 1
                line = match[2].strip()
            elif line.startswith("}"):
                self._close_section(place)
                opened_here -= 1
                line = line[1:].strip()
            elif match := PAIR.fullmatch(line):
                value, brace, rest = match[2].partition("}") if opened_here > 0 else (match[2], "", "")
                self.open[-1].values.append((match[1], Value(value.strip(), place)))
                line = brace + rest
            else:
                self._fault(place, f"{quoted(line)} is not understood", "write 'key: value', 'section {' or '}'")
                return

    def _open_section(self, name: str, place: Place) -> None:
        section = Section(name, place)
        if len(self.open) > DEPTH_MAX:
            self._fault(place, f"sections are nested more than {DEPTH_MAX} deep", "close the sections above with '}'")
            raise ConfigError(self.faults)
        self.open[-1].sections.append(section)
        self.open.append(section)

    def _close_section(self, place: Place) -> None:
        if len(self.open) == 1:
            self._fault(place, "'}' closes nothing", "remove it, or open the section that it ends")
        else:
            self.open.pop()

    def _fault(self, place: Place, why: str, mend: str) -> None:
        self.faults.append(Fault("error", place, "", why, mend))
