"""The syntax of corosync.conf: sections in braces, `key: value` lines, comment lines; without their meaning.

Each line is blank, a comment (its first character is `#`), the opening of a section (`name {`, or `name: {`, which
Corosync accepts, too), a `key: value` pair, or the end of a section (`}`). A section may also be written in one line:
`node { nodeid: 1 }`. A value reaches to the end of its line, so no comment can follow it. Every key and section keeps
its place for later messages.

One wrong brace makes all following lines look wrong. So the parser reports it once, where it is, and not its
consequences.
"""

import os
import re
import stat
from dataclasses import dataclass, field

from rondo.config.faults import ConfigError, Fault, Place, one_line, quoted

FILE_BYTES_MAX = 1024 * 1024
"""A nodelist of 384 nodes has some 40 KiB."""

DEPTH_MAX = 8
"""corosync.conf needs three levels (totem, interface, member)."""

LINE_CHARACTERS_MAX = 8192
"""The longest value is a key of 4096 bytes."""

FAULTS_MAX = 20
"""After this many invalid lines the parser stops: the file is no corosync.conf."""

OPENING = re.compile(r"([A-Za-z0-9_.\-]+)\s*\{(.*)|([A-Za-z0-9_.\-]+)\s*:\s*\{", re.DOTALL)
NO_UTF8 = re.compile("[\udc80-\udcff]")
"""The characters that surrogateescape makes of bytes that are not UTF-8."""
HEAD = re.compile(r"([A-Za-z0-9_.\-]+)\s*:?")
"""A possible name of a section whose brace follows on the next line."""
PAIR = re.compile(r"([^\s:{}]+)\s*:(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Value:
    """The text of a value without the blanks around it."""

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
    """The text of a configuration file. Raises ConfigError if it cannot be read, or cannot be a configuration."""

    def refuse(why: str, mend: str, line: int = 0) -> ConfigError:
        return ConfigError([Fault("error", Place(file, line), "", why, mend)])

    try:
        # O_NONBLOCK: opening a named pipe without a writer must not block.
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
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:1] + content[1:2]:
        raise refuse("is UTF-16, not UTF-8", "store the file as UTF-8")
    if (nul := content.find(b"\0")) >= 0:
        raise refuse("holds a NUL byte", "remove it", content.count(b"\n", 0, nul) + 1)
    if b"\r" in content and b"\n" not in content:
        raise refuse("the lines end with CR alone", "store the file with LF at the ends of the lines", 1)
    return content.decode("utf-8-sig", "surrogateescape")


def not_utf8(text: str, file: str) -> list[Fault]:
    """A warning if some of the file's bytes are not UTF-8. They are used as they are, as Corosync does."""
    lines = [number for number, line in enumerate(text.split("\n"), start=1) if NO_UTF8.search(line)]
    if not lines:
        return []
    more = f" here and in {len(lines) - 1} more" if len(lines) > 1 else " here"
    why = f"is not UTF-8{more}: the bytes are taken as they are"
    return [Fault("warning", Place(file, lines[0]), "", why, "store the file as UTF-8")]


def parse(text: str, file: str) -> Section:
    """The tree of the sections of `text`; its root has no name. Raises ConfigError with every line that is wrong."""
    return _Parser(file).parse(text)


class _Parser:
    def __init__(self, file: str) -> None:
        self.file = file
        self.root = Section("", Place(file))
        self.open = [self.root]
        self.indents = [0]
        """The indentation of the line that opened each section. It shows which brace is missing or superfluous."""
        self.faults: list[Fault] = []
        self.head: tuple[str, Place] | None = None
        """The line before, if it may be the name of a section whose brace comes now. It is not reported as a fault
        yet."""
        self.lone_braces: list[tuple[str, Place, Place]] = []
        self.closing_nothing: list[Place] = []
        self.outdented: list[Section] = []
        """Sections whose '}' is indented less than their beginning: it may belong to a section around them."""
        self.indented: Place | None = None
        """The first '}' that is indented more than the section that it closes."""
        self.upset = False
        """A fault that was already reported may have unbalanced the braces."""

    def parse(self, text: str) -> Section:
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip()
            if line and not line.startswith("#"):
                self._take(line, Place(self.file, number), len(raw) - len(raw.lstrip()))
            if len(self.faults) >= FAULTS_MAX:
                break
        else:
            self._no_head()
            self._tell_braces()
        if self.faults:
            raise ConfigError(self.faults)
        return self.root

    def _take(self, line: str, place: Place, indent: int) -> None:
        """Parse one line. What follows an opening brace is parsed as if it were on lines of its own."""
        if len(line) > LINE_CHARACTERS_MAX:
            self._fault(place, f"longer than {LINE_CHARACTERS_MAX} characters", "this is not a line of a corosync.conf")
            return
        opened_here = 0
        if line.startswith("{"):
            self._lone_brace(place, indent)
            opened_here = 1
            line = line[1:].strip()
        else:
            self._no_head()
        while line and len(self.faults) < FAULTS_MAX:
            if match := OPENING.fullmatch(line):
                self._open_section(match[1] or match[3], place, indent)
                opened_here += 1
                line = (match[2] or "").strip()
            elif line.startswith("}"):
                self._close_section(place, indent)
                opened_here -= 1
                line = line[1:].strip()
            elif line.endswith("{"):
                mend = "a comment must have a line of its own" if "#" in line else "write 'section {'"
                self._fault(place, f"{quoted(line)}: the name of a section is one word", mend)
                self.upset = True
                self._open_section(line[:-1].strip(), place, indent)
                return
            elif match := PAIR.fullmatch(line):
                value, brace, rest = match[2].partition("}") if opened_here > 0 else (match[2], "", "")
                self.open[-1].values.append((match[1], Value(value.strip(), place)))
                line = brace + rest
                if not (value.strip() or line) and HEAD.fullmatch(match[1]):
                    self.head = (match[1], place)
            elif HEAD.fullmatch(line):
                self.head = (line, place)
                return
            else:
                self._not_understood(line, place)
                return

    def _not_understood(self, line: str, place: Place) -> None:
        mend = "write 'key: value', 'section {' or '}'"
        if line.startswith("#"):
            mend = "a comment must have a line of its own"
        elif line.startswith(("//", ";", "/*", "--")):
            mend = "a comment begins with '#'"
        self.upset |= "{" in line or "}" in line
        self._fault(place, f"{quoted(line)} is not understood", mend)

    def _no_head(self) -> None:
        """The line before was no name of a section, because no brace has followed."""
        if self.head is not None:
            word, place = self.head
            self.head = None
            values = self.open[-1].values
            if not (values and values[-1][1].place == place):  # not a key without a value
                self._not_understood(word, place)
                self.upset = True

    def _lone_brace(self, place: Place, indent: int) -> None:
        """A '{' at the beginning of a line without a name: open a section anyway, so that the following lines fit."""
        if self.head is None:
            self._fault(place, "'{' has no name of a section before it", "write 'section {'")
            self._open_section("", place, indent)
            return
        name, head_place = self.head
        self.head = None
        values = self.open[-1].values
        if values and values[-1][1].place == head_place:
            values.pop()
        self.lone_braces.append((name, head_place, place))
        self._open_section(name, head_place, indent)

    def _open_section(self, name: str, place: Place, indent: int) -> None:
        section = Section(name, place)
        if len(self.open) > DEPTH_MAX:
            self._fault(place, f"sections are nested more than {DEPTH_MAX} deep", "close the sections above with '}'")
            raise ConfigError(self.faults)
        self.open[-1].sections.append(section)
        self.open.append(section)
        self.indents.append(indent)

    def _close_section(self, place: Place, indent: int) -> None:
        if len(self.open) == 1:
            self.closing_nothing.append(place)
            return
        section, opened_at = self.open.pop(), self.indents.pop()
        if indent < opened_at:
            self.outdented.append(section)
        if indent > opened_at and self.indented is None and place != section.place:
            self.indented = place

    def _tell_braces(self) -> None:
        """Report the faults that show only after the whole file was read."""
        if self.lone_braces:
            name, place, brace = self.lone_braces[0]
            more = len(self.lone_braces) - 1
            why = f"the '{{' of section {quoted(name)} stands on a line of its own (line {brace.line})"
            why += f", and so do {more} more" if more else ""
            self._fault(place, why, f"write '{one_line(name)} {{' in one line")
        if self.upset:
            return
        if self.closing_nothing:
            place, more = self.closing_nothing[0], len(self.closing_nothing) - 1
            why = "'}' closes nothing" + (f", nor do {more} more" if more else "")
            if self.indented is not None and self.indented.line < place.line:
                why += f" (that at line {self.indented.line} stands further in than the section that it closes)"
            self._fault(place, why, "remove it, or open the section that it ends")
        elif len(self.open) > 1:
            self._tell_unclosed()

    def _tell_unclosed(self) -> None:
        section = self.open[-1]
        if len(self.outdented) == 1 and len(self.open) == 2 and self.indented is None:
            section = self.outdented[0]
        mend = "end it with a line '}'"
        if at := next((value.place.line for _, value in section.values if value.text.endswith("}")), 0):
            mend = f"write the '}}' of line {at} into a line of its own"
        self._fault(section.place, f"section {quoted(section.name)} is not closed", mend)

    def _fault(self, place: Place, why: str, mend: str) -> None:
        self.faults.append(Fault("error", place, "", why, mend))
