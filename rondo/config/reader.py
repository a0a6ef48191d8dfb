"""From a file to checked options: reads, parses, validates against the declarations, and cross-checks.

A wrong value is an error; an unknown or unsupported key is a warning, so that files of Corosync and of other versions
can be used. All errors are collected, so that one run shows them all.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rondo import paths
from rondo.config import option, parser
from rondo.config.checks import check_options
from rondo.config.checks_network import check_network
from rondo.config.faults import ConfigError, Fault, Place, one_line, quoted
from rondo.config.loaded import Loaded, OptionPath, option_name
from rondo.config.schema_node import Config
from rondo.config.unsupported import REFUSED_SECTIONS, key_reason, section_reason

NEAREST_CHARACTERS_MAX = 64
"""A longer name is not compared with the known ones to its end: the comparison takes quadratic time."""

USERS_DIRECTORY = "uidgid.d"
"""Beside the configuration: files with further uidgid{} sections, as packages install them."""


def load(path: paths.AnyPath | None = None, *, node_id: int | None = None) -> Loaded:
    """Read a configuration; without `path` the one that the environment or the default names (`rondo.paths`).

    node_id says which node this is, over everything that the file says. Raises ConfigError.
    """
    file, named = paths.config_file(path)
    if not named and _is_missing(file):
        return Loaded(Config(), file="", node_id=node_id)
    root = parser.parse(parser.read_text(str(file)), str(file))
    more, faults = _more_users(file.parent / USERS_DIRECTORY)
    root.sections += more
    return _load(root, str(file), node_id, faults)


def _is_missing(file: Path) -> bool:
    """Whether there is certainly no file; one in a directory that may not be entered is not missing but unreadable."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def load_text(text: str, file: str, *, node_id: int | None = None) -> Loaded:
    """The same for a text that was read already; `file` is for the messages."""
    return _load(parser.parse(text, file), file, node_id, [])


def _more_users(directory: Path) -> tuple[list[parser.Section], list[Fault]]:
    """The uidgid{} sections of the files in a directory; one that may not be read admits nobody, with a warning."""
    try:
        files = sorted(str(entry) for entry in directory.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Fault("warning", Place(str(directory)), "", f"cannot be read: {error.strerror}", "")]
    sections: list[parser.Section] = []
    faults: list[Fault] = []
    for file in files:
        for section in parser.parse(parser.read_text(file), file).sections:
            if section.name == "uidgid":
                sections.append(section)
            else:
                why = f"has no effect: only uidgid sections count in {USERS_DIRECTORY}"
                faults.append(Fault("warning", section.place, one_line(section.name), why, ""))
    return sections, faults


def _load(root: parser.Section, file: str, node_id: int | None, faults: list[Fault]) -> Loaded:
    reader = _Reader()
    reader.faults += faults
    raw = reader.section(root, Config, ())
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        wrong = [reader.fault_of(detail) for detail in error.errors(include_url=False, include_input=False)]
        raise _refusal([*reader.faults, *wrong]) from None
    loaded = Loaded(config, file, node_id, reader.places)
    faults = [*reader.faults, *check_options(loaded), *check_network(loaded)]
    if any(fault.severity == "error" for fault in faults):
        raise _refusal(faults)
    return loaded.warned(tuple(_in_order(faults)))


def _refusal(faults: Iterable[Fault]) -> ConfigError:
    return ConfigError(fault for fault in _in_order(faults) if fault.severity == "error")


def _in_order(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (fault.place.file, fault.place.line) if fault.place else ("", 0))


class _Reader:
    """Turns the tree of sections into nested dicts for pydantic; remembers places; warns of what has no effect."""

    def __init__(self) -> None:
        self.places: dict[OptionPath, Place] = {}
        self.texts: dict[OptionPath, str] = {}
        self.faults: list[Fault] = []
        self.warned_of: set[tuple[str, str]] = set()

    def section(self, tree: parser.Section, model: type[option.Section], path: OptionPath) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        self._fill(raw, tree, model, path)
        return raw

    def _fill(self, raw: dict[str, Any], tree: parser.Section, model: type[option.Section], path: OptionPath) -> None:
        """Lay `tree` over `raw`, which has something already if the section is given twice."""
        self.places.setdefault(path, tree.place)
        for key, value in tree.values:
            self._value(raw, key, value, model, path)
        for section in tree.sections:
            where = (*path, section.name)
            field = model.model_fields.get(section.name)
            kind = field and option.subsection(field)
            if field is None or kind is None:
                self._unknown_section(section, model, where)
            elif option.repeats(field):
                items = raw.setdefault(section.name, [])
                items.append(self.section(section, kind, (*where, len(items))))
            else:
                self._fill(raw.setdefault(section.name, {}), section, kind, where)

    def _value(
        self, raw: dict[str, Any], key: str, value: parser.Value, model: type[option.Section], path: OptionPath
    ) -> None:
        where = (*path, key)
        field = model.model_fields.get(key)
        if field is None:
            self._unknown_key(key, value.place, model, where)
            return
        if option.subsection(field):
            self._fault("error", value.place, where, "is a section, not an option", f"write '{key} {{'")
            return
        if where in self.places:
            why = f"is given again; the value at line {self.places[where].line} is overridden"
            self._fault("warning", value.place, where, why, "remove one of them")
        if ignored := option.extra(field, "ignored"):
            self._warn_once(value.place, where, f"has no effect: {ignored}")
        if mend := (option.extra(field, "refused") or {}).get(value.text.lower()):
            self._fault("error", value.place, where, f"{quoted(value.text)} is not supported", mend)
            return
        self.places[where] = value.place
        self.texts[where] = value.text
        raw[key] = value.text.lower() if option.choices(field) else value.text

    def _unknown_key(self, key: str, place: Place, model: type[option.Section], where: OptionPath) -> None:
        if reason := key_reason(option_name(where)):
            self._warn_once(place, where, f"has no effect: {reason}")
            return
        known = [name for name, field in model.model_fields.items() if not option.subsection(field)]
        self._warn_once(place, where, "is not known and has no effect" + _nearest(key, known))

    def _unknown_section(self, section: parser.Section, model: type[option.Section], where: OptionPath) -> None:
        if refused := REFUSED_SECTIONS.get(option_name(where)):
            self._fault("error", section.place, where, *refused)
            return
        reason = section_reason(section.name) if len(where) == 1 else None
        if reason:
            self._warn_once(section.place, where, f"has no effect: {reason}")
            return
        known = [name for name, field in model.model_fields.items() if option.subsection(field)]
        what = "is an option, not a section" if section.name in model.model_fields else "is not a known section"
        self._warn_once(section.place, where, f"{what} and has no effect" + _nearest(section.name, known))

    def _warn_once(self, place: Place, where: OptionPath, why: str) -> None:
        """What is the same for each of many nodes is said for the first."""
        if (option_name(where), why) not in self.warned_of:
            self.warned_of.add((option_name(where), why))
            self.faults.append(Fault("warning", place, one_line(option_name(where)), why, ""))

    def _fault(self, severity: Any, place: Place, where: OptionPath, why: str, mend: str) -> None:
        self.faults.append(Fault(severity, place, option_name(where), why, mend))

    def fault_of(self, detail: Any) -> Fault:
        """What pydantic found, said in terms of the file."""
        where: OptionPath = detail["loc"]
        while where not in self.places and where[:-1] in self.places and not self._field(where):
            where = where[:-1]
        field = self._field(where)
        mend = f"write {option.accepts(field)}" if field else "mend it"
        place = next(self.places[where[:n]] for n in range(len(where), -1, -1) if where[:n] in self.places)
        if detail["type"] == "missing":
            return Fault("error", place, option_name(where), "is missing", mend)
        secret = field is not None and option.extra(field, "secret")
        text = "the value" if secret else quoted(self.texts.get(where, ""))
        match detail["type"]:
            case "value_error":
                why = f"{text} {detail['ctx']['error']}"
            case "greater_than_equal" | "less_than_equal":
                why = f"{text} is out of bounds"
            case _:
                why = f"{text} is not possible"
        return Fault("error", place, option_name(where), why, mend)

    def _field(self, where: OptionPath) -> FieldInfo | None:
        """The declaration of the option at `where`."""
        model: type[option.Section] = Config
        field: FieldInfo | None = None
        for part in where:
            if isinstance(part, int):
                continue
            field = model.model_fields.get(part)
            if field is None:
                return None
            model = option.subsection(field) or model
        return field


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.lower()[:NEAREST_CHARACTERS_MAX], known, n=1, cutoff=0.7)
    return f"; did you mean '{close[0]}'?" if close else ""
