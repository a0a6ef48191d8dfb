"""From a file to checked options: reads, parses, validates against the declarations, and cross-checks.

A wrong value is an error. An unknown or unsupported key is a warning, so that files for Corosync and for other versions
can be used. All errors are collected, so that one run shows them all.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rondo import paths
from rondo.config import advice, option, parser
from rondo.config.checks import check_options
from rondo.config.checks_network import check_network
from rondo.config.effect import drop_without_effect
from rondo.config.faults import ConfigError, Fault, Place, one_line, quoted
from rondo.config.loaded import Loaded, OptionPath, option_name
from rondo.config.schema_node import Config
from rondo.config.unsupported import REFUSED_SECTIONS, key_reason, section_reason

KEPT_OF_DROPPED = ("linknumber", "ringnumber", "subsys")
"""Options that tell a section from others of its kind."""

USERS_DIRECTORY = "uidgid.d"
"""Directory beside the configuration: files with further uidgid{} sections, as packages install them."""


def load(path: paths.AnyPath | None = None, *, node_id: int | None = None) -> Loaded:
    """Read a configuration. Without `path`: the one that the environment or the default names (`rondo.paths`).

    node_id tells which node this is, and overrides the file. Raises ConfigError.
    """
    file, named = paths.config_file(path)
    if not named and _is_missing(file):
        return Loaded(Config(), file="", node_id=node_id)
    text = parser.read_text(str(file))
    root = parser.parse(text, str(file))
    more, faults = _more_users(file.parent / USERS_DIRECTORY)
    root.sections += more
    return _load(root, str(file), node_id, [*parser.not_utf8(text, str(file)), *faults])


def _is_missing(file: Path) -> bool:
    """True if there certainly is no file. A file in a directory without search permission counts as unreadable."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def load_text(text: str, file: str, *, node_id: int | None = None) -> Loaded:
    """The same for a text that was already read; `file` is for the messages."""
    return _load(parser.parse(text, file), file, node_id, parser.not_utf8(text, file))


def _more_users(directory: Path) -> tuple[list[parser.Section], list[Fault]]:
    """The uidgid{} sections of the files in a directory.

    A file that cannot be read admits nobody, and anything but a regular file is skipped, as in Corosync. Both are
    warnings.
    """
    try:
        files = sorted(str(entry) for entry in directory.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Fault("warning", Place(str(directory)), "", f"cannot be read: {error.strerror}", "")]
    sections: list[parser.Section] = []
    faults: list[Fault] = []
    for file in files:
        if why := _not_a_file(Path(file)):
            faults.append(Fault("warning", Place(file), "", f"{why}; it is skipped", ""))
            continue
        for section in parser.parse(parser.read_text(file), file).sections:
            if section.name == "uidgid":
                sections.append(section)
            else:
                why = f"has no effect: only uidgid sections count in {USERS_DIRECTORY}"
                faults.append(Fault("warning", section.place, one_line(section.name), why, ""))
    return sections, faults


def _not_a_file(file: Path) -> str:
    """Why this is no readable regular file; empty if it is one."""
    try:
        if not file.is_file():
            return "is a link to nothing" if file.is_symlink() and not file.exists() else "is no regular file"
        file.open("rb").close()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _load(root: parser.Section, file: str, node_id: int | None, faults: list[Fault]) -> Loaded:
    reader = _Reader()
    reader.faults += faults
    raw = reader.section(root, Config, ())
    drop_without_effect(raw, lambda path, why, mend: reader.drop(raw, path, why, mend))
    for path in reader.refused:
        del reader.holder(raw, path)[path[-1]]
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        wrong = [reader.fault_of(detail) for detail in error.errors(include_url=False, include_input=False)]
        raise _refusal([*reader.faults, *reader.refused.values(), *wrong]) from None
    loaded = Loaded(config, file, node_id, reader.places)
    faults = [*reader.faults, *reader.refused.values(), *check_options(loaded), *check_network(loaded)]
    if any(fault.severity == "error" for fault in faults):
        raise _refusal(faults)
    return loaded.warned(tuple(_in_order(faults)))


def _refusal(faults: Iterable[Fault]) -> ConfigError:
    return ConfigError(fault for fault in _in_order(faults) if fault.severity == "error")


def _in_order(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (fault.place.file, fault.place.line) if fault.place else ("", 0))


class _Reader:
    """Turns the tree of sections into nested dicts for pydantic, records places, and warns of what has no effect."""

    def __init__(self) -> None:
        self.places: dict[OptionPath, Place] = {}
        self.texts: dict[OptionPath, str] = {}
        self.faults: list[Fault] = []
        self.refused: dict[OptionPath, Fault] = {}
        """Values that Rondo refuses. Those of options without effect are removed again."""
        self.warned_of: set[tuple[str, str]] = set()

    def section(self, tree: parser.Section, model: type[option.Section], path: OptionPath) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        self._fill(raw, tree, model, path)
        return raw

    def _fill(self, raw: dict[str, Any], tree: parser.Section, model: type[option.Section], path: OptionPath) -> None:
        """Merge `tree` into `raw`, which is not empty if a section is given twice."""
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
            # Its value is not checked, because it would have no effect either.
            self._warn_once(value.place, where, f"has no effect: {ignored}")
            return
        if option.extra(field, "zero_is_default") and re.fullmatch("0+", value.text):
            self._fault("warning", value.place, where, "0 stands for the default, as in Corosync", "remove the line")
            return
        self.places[where] = value.place
        if mend := (option.extra(field, "refused") or {}).get(value.text.lower()):
            why = f"{quoted(value.text)} is not supported"
            self.refused[where] = Fault("error", value.place, option_name(where), why, mend)
        if option.is_text(field) and (odd := advice.odd_text(value.text)):
            self._fault("warning", value.place, where, *odd)
        self.texts[where] = value.text
        raw[key] = value.text.lower() if option.choices(field) else value.text

    def _unknown_key(self, key: str, place: Place, model: type[option.Section], where: OptionPath) -> None:
        if reason := key_reason(option_name(where)):
            self._warn_once(place, where, f"has no effect: {reason}")
            return
        self._warn_once(place, where, "is not known and has no effect" + advice.nearest(key, model, section=False))

    def _unknown_section(self, section: parser.Section, model: type[option.Section], where: OptionPath) -> None:
        if refused := REFUSED_SECTIONS.get(option_name(where)):
            self._fault("error", section.place, where, *refused)
            return
        if reason := section_reason(option_name(where)):
            self._warn_once(section.place, where, f"has no effect: {reason}")
            return
        what = "is an option, not a section" if section.name in model.model_fields else "is not a known section"
        meant = "" if section.name in model.model_fields else advice.nearest(section.name, model, section=True)
        self._warn_once(section.place, where, f"{what} and has no effect{meant}")

    def holder(self, raw: dict[str, Any], path: OptionPath) -> Any:
        """The section, or the list of sections, that contains the last part of `path`; an empty one if there is
        none."""
        found: Any = raw
        for part in path[:-1]:
            found = found[part] if isinstance(part, int) or part in found else {}
        return found

    def drop(self, raw: dict[str, Any], path: OptionPath, why: str, mend: str) -> None:
        """Remove what is at `path`, if anything is, and warn that it has no effect (not if `why` is empty).

        A section that may be repeated keeps its place in the list, with the options that identify it.
        """
        last, holder = path[-1], self.holder(raw, path)
        if isinstance(last, str) and last not in holder:
            return
        place = next(self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places)
        if isinstance(last, int):
            holder[last] = {key: value for key, value in holder[last].items() if key in KEPT_OF_DROPPED}
        else:
            place = self.places.get((*path, 0), place)
            holder.pop(last, None)
        for known in (self.places, self.texts, self.refused):
            for each in [each for each in known if each[: len(path)] == path and each[-1] not in KEPT_OF_DROPPED]:
                if each != path or isinstance(last, str):
                    del known[each]
        if why:
            self.faults.append(Fault("warning", place, option_name(path), why, mend))

    def _warn_once(self, place: Place, where: OptionPath, why: str) -> None:
        """A warning that is the same for each of many nodes is given for the first."""
        if (option_name(where), why) not in self.warned_of:
            self.warned_of.add((option_name(where), why))
            self.faults.append(Fault("warning", place, one_line(option_name(where)), why, ""))

    def _fault(self, severity: Any, place: Place, where: OptionPath, why: str, mend: str) -> None:
        self.faults.append(Fault(severity, place, option_name(where), why, mend))

    def fault_of(self, detail: Any) -> Fault:
        """pydantic's error in terms of the file."""
        where: OptionPath = detail["loc"]
        while where not in self.places and where[:-1] in self.places and not self._field(where):
            where = where[:-1]
        field = self._field(where)
        mend = f"write {option.accepts(field)}" if field else "mend it"
        place = next(self.places[where[:n]] for n in range(len(where), -1, -1) if where[:n] in self.places)
        if detail["type"] == "missing":
            return Fault("error", place, option_name(where), "is missing", mend)
        secret = field is not None and option.extra(field, "secret")
        written = self.texts.get(where, "")
        text = "the value" if secret else quoted(written)
        match detail["type"]:
            case "value_error":
                why = f"{text} {detail['ctx']['error']}"
            case "greater_than_equal" | "less_than_equal":
                why = f"{text} is out of bounds"
            case _:
                why = f"{text} is not possible"
        if not secret and (hint := advice.hint_of_value(written)):
            why += f", {hint}"
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
