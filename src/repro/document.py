"""A YAML file as plain values that remember their lines, so that every mistake is reported with file, line and key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from repro.errors import LedgerError, did_you_mean

Location = tuple[str | int, ...]


class _Loader(yaml.CSafeLoader):
    """Reads no dates: what looks like one is text, which the models then accept or refuse with its line."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))
# YAML 1.1 wants a point and a sign in 1.0e-3; without them it reads text, which is never meant.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class Document:
    """A YAML document as plain values, with the line of every key.

    Args:
        path: of the file.
        text: the part of it that is YAML; None for all of it.
        above: lines of the file before that part.
    """

    def __init__(self, path: Path, text: str | None = None, above: int = 0) -> None:
        self.path, self.above = path, above
        self.lines: dict[Location, int] = {}
        try:
            text = path.read_text(encoding="utf-8") if text is None else text
            self._walk(yaml.compose(text, Loader=_Loader), ())
            self.value = yaml.load(text, Loader=_Loader)
        except OSError as error:
            raise LedgerError(f"{path}: cannot be read ({error.strerror})") from None
        except yaml.MarkedYAMLError as error:
            line = f":{above + error.problem_mark.line + 1}" if error.problem_mark else ""
            raise LedgerError(f"{path}{line}: not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError) as error:
            why = " ".join(str(error).split())
            raise LedgerError(f"{path}: not valid YAML: {why}") from None

    def _walk(self, node: yaml.Node | None, at: Location) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                name, line = key.value, key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    self.fail("a key must be a single word", at, line)
                here = (*at, name)
                if name in seen:
                    self.fail(f"the key stands twice, first on line {seen[name]}", here, line)
                seen[name] = self.lines[here] = line
                self._walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self.lines[(*at, i)] = value.start_mark.line + 1
                self._walk(value, (*at, i))

    def fail(self, what: str, at: Location, line: int | None = None) -> NoReturn:
        """Raise a LedgerError that names file, line and key."""
        shown = tuple(at)
        while line is None and shown:
            line = self.lines.get(shown)
            shown = shown[:-1]
        key = ".".join(str(part) for part in at) or "(top)"
        raise LedgerError(f"{self.path}:{self.above + (line or 1)}: {key}: {what}")


def _without_tags(location: Location, document: Document) -> Location:
    """Drop the union tags that pydantic puts into a location, such as ``('claims', 3, 'value', 'margin')``."""
    kept: Location = ()
    for i, part in enumerate(location):
        if (*kept, part) in document.lines or i == len(location) - 1:
            kept = (*kept, part)
    return kept


def _explain(error: Any, document: Document) -> tuple[str, Location]:
    """Return what is wrong, in our words, and where."""
    if error["type"] == "unknown_key":
        key, known = error["ctx"]["key"], error["ctx"]["known"].split(", ")
        return f"unknown key{did_you_mean(key, known)} (there are {', '.join(known)})", _without_tags(
            (*error["loc"], key), document
        )
    if error["type"] == "truth_for_number":
        return (
            "a number is needed; YAML reads yes, no, on, off, true and false as truth values",
            _without_tags((*error["loc"], error["ctx"]["key"]), document),
        )
    at = _without_tags(error["loc"], document)
    if error["type"] == "missing":
        return "missing" + (" (every number needs its anchor)" if at[-1] == "anchor" else ""), at
    if error["type"].startswith("union_tag"):
        return error["msg"], (*at, "kind")
    if at and at[-1] in ("bool", "int", "float", "str") and at not in document.lines:
        return "needs one number, text, true or false", at[:-1]
    return error["msg"].removeprefix("Value error, "), at


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], document: Document) -> Model:
    """Return the document as a model.

    Raises:
        LedgerError: with file, line and key, for the mistake that says most.
    """
    try:
        return model.model_validate(document.value)
    except ValidationError as failure:
        # A misspelt key is unknown, and what it should have been is missing: the first says more.
        errors = sorted(failure.errors(), key=lambda error: error["type"] != "unknown_key")
        document.fail(*_explain(errors[0], document))
