"""YAML text as plain data, with the line and column of every key and value, under limits.

PyYAML's parser gives events; the tree is composed here, because the stock composer recurses without bound, keeps the
last of two equal keys and expands aliases without counting.  Refused: text over the size limit, depth over
`MAX_DEPTH`, more than `MAX_NODES` values (aliases counted expanded), tags, several documents, keys that are not text,
duplicate keys.  Merge keys (``<<: *base``) are honoured; a mapping's own keys win.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from cosim.errors import Problem, ScenarioError
from cosim.scenario.scalars import Scalar, UnclearScalarError, plain_scalar

MAX_DEPTH = 50
MAX_NODES = 500_000

#: A place in the data: list indices are written as text, so that a path can be compared with what a user types.
Path = tuple[str, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file (or the option that set it), line and column from 1 (0: unknown)."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Places:
    """Where each value and each key of the data stands."""

    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def value(self, path: Path) -> Place:
        """Place of the value at `path`, or of its nearest ancestor that exists."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return Place("")

    def key(self, path: Path) -> Place:
        """Place of the key at `path`, else as `value`."""
        return self.keys.get(path) or self.value(path)


@dataclass(frozen=True, slots=True)
class Tree:
    """Composed data, its places, and what is wrong with single values of it."""

    data: Any
    places: Places
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Node:
    """One value: a scalar, a list of nodes or a dict of (place of the key, node); with its expanded size and height."""

    value: Scalar | list[_Node] | dict[str, tuple[Place, _Node]]
    place: Place
    size: int = 1
    height: int = 0
    unclear: str = ""


def parse_yaml(text: str, file: str) -> Tree:
    """The data of one YAML document; raises ScenarioError where the text is no YAML or breaks a limit.

    Problems of single values (duplicate keys, ``yes``, ``1:30``, ``.nan``) are gathered in the result instead, so that
    they are reported with all others.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ScenarioError((Problem(f"not Unicode text at character {error.start}", file=file),)) from None
    composer = _Composer(text, file)
    try:
        root = composer.document()
    except yaml.YAMLError as error:
        raise ScenarioError((_syntax_problem(error, text, file),)) from None
    except (ValueError, OverflowError) as error:  # the pure Python scanner, on escapes beyond Unicode
        raise ScenarioError((Problem(f"not valid YAML: {error}", file=file),)) from None
    if root is None:
        return Tree(None, Places({(): Place(file, 1, 1)}), ())
    places = Places()
    data = _plain(root, (), places, composer.problems)
    return Tree(data, places, tuple(composer.problems))


class _Composer:
    """Events to nodes, counting."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_Loader))
        self._file = file
        self._anchors: dict[str, _Node | None] = {}
        self._nodes = 0
        self.problems: list[Problem] = []

    def document(self) -> _Node | None:
        """The root of the only document; None for an empty text."""
        root: _Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second YAML document (---) starts here; expected one document")
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: Any, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            self._refuse(event, f"found the tag {event.tag}; tags are not accepted, write the value plainly")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._content(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _content(self, event: Any, depth: int) -> _Node:
        self._count(event, 1)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, depth)
        return self._mapping(event, depth)

    def _scalar(self, event: Any) -> _Node:
        if any("\ud800" <= c <= "\udfff" for c in event.value):
            self._refuse(event, "an escape that is half a surrogate pair; expected a Unicode character")
        if not event.implicit[0]:
            return _Node(event.value, self._place(event))
        try:
            return _Node(plain_scalar(event.value), self._place(event))
        except UnclearScalarError as error:
            return _Node(event.value, self._place(event), unclear=str(error))

    def _sequence(self, event: Any, depth: int) -> _Node:
        items: list[_Node] = []
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
        return _Node(items, self._place(event), *_extent(items))

    def _mapping(self, event: Any, depth: int) -> _Node:
        items: dict[str, tuple[Place, _Node]] = {}
        merged: dict[str, tuple[Place, _Node]] = {}
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            key, place = self._key(inner), self._place(inner)
            node = self._node(next(self._events), depth + 1)
            if key == "<<" and inner.implicit[0]:
                self._merge(node, merged)
            elif key in items:
                first = items[key][0].line
                self.problems.append(Problem(f"the key '{key}' appears twice (first on line {first}); keep one", "",
                                             place.file, place.line, place.column, "yaml"))
            else:
                items[key] = (place, node)
        items = {**{key: item for key, item in merged.items() if key not in items}, **items}
        return _Node(items, self._place(event), *_extent([node for _, node in items.values()]))

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
            self._refuse(event, "a key that is not text; expected a name")
        self._count(event, 1)
        node = self._scalar(event)
        if not isinstance(node.value, str) or node.unclear:
            self._refuse(event, f"the key {event.value or '(empty)'} is not text in every YAML reader; "
                                f"write '{event.value}' in quotes if it is meant")
        return node.value

    def _merge(self, node: _Node, into: dict[str, tuple[Place, _Node]]) -> None:
        for source in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(source.value, dict):
                place = source.place
                raise ScenarioError((Problem("<< merges mappings; found something else", "", place.file, place.line,
                                             place.column, "yaml"),))
            for key, item in source.value.items():
                into.setdefault(key, item)

    def _alias(self, event: Any, depth: int) -> _Node:
        if event.anchor not in self._anchors:
            self._refuse(event, f"*{event.anchor} names no anchor above it; known: "
                                f"{', '.join(sorted(self._anchors)) or 'none'}")
        node = self._anchors[event.anchor]
        if node is None:
            self._refuse(event, f"*{event.anchor} contains itself")
        self._count(event, node.size)
        if depth + node.height > MAX_DEPTH:
            self._refuse(event, f"nested more than {MAX_DEPTH} deep once *{event.anchor} is expanded")
        return node

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES:,} values (aliases count as often as they are used)")

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, event: Any, message: str) -> NoReturn:
        place = self._place(event)
        raise ScenarioError((Problem(message, "", place.file, place.line, place.column, "yaml"),))


def _extent(inner: list[_Node]) -> tuple[int, int]:
    return 1 + sum(node.size for node in inner), 1 + max((node.height for node in inner), default=0)


def _plain(node: _Node, path: Path, places: Places, problems: list[Problem]) -> Any:
    """Nodes to dicts, lists and scalars, noting where each stands."""
    places.values[path] = node.place
    if node.unclear:
        problems.append(Problem(node.unclear, ".".join(path), node.place.file, node.place.line, node.place.column,
                                "yaml"))
    if isinstance(node.value, list):
        return [_plain(item, (*path, str(i)), places, problems) for i, item in enumerate(node.value)]
    if isinstance(node.value, dict):
        for key, (place, _) in node.value.items():
            places.keys[(*path, key)] = place
        return {key: _plain(item, (*path, key), places, problems) for key, (_, item) in node.value.items()}
    return node.value


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[:error.position] if isinstance(error.position, int) else ""
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return Problem(f"not text: {error.reason}", "", file, line, column, "yaml")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    message = f"not valid YAML: {said}" + (f" ({context})" if context else "")
    if "'\\t'" in said or (mark is not None and _indents_with_tab(text, mark.line)):
        message += "; indent with spaces, not tabs"
    return Problem(message, "", file, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0, "yaml")


def _indents_with_tab(text: str, line: int) -> bool:
    lines = text.splitlines()
    if line >= len(lines):
        return False
    return "\t" in lines[line][:len(lines[line]) - len(lines[line].lstrip())]
