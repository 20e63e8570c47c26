"""YAML text: places, limits, and what readers would disagree about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import ScenarioError
from cosim.scenario import yaml_tree
from cosim.scenario.scalars import plain_scalar
from cosim.scenario.yaml_tree import parse_yaml


def refused(text: str) -> str:
    """The one problem of a text that is refused as a whole."""
    with pytest.raises(ScenarioError) as caught:
        parse_yaml(text, "f")
    (problem,) = caught.value.problems
    return str(problem)


def noted(text: str) -> list[str]:
    """Problems of single values."""
    return [str(problem) for problem in parse_yaml(text, "f").problems]


def test_values_and_keys_have_places() -> None:
    """Every value and key knows its line and column, counted from 1."""
    places = parse_yaml("a:\n  - b: 1\n    c: [x, y]\n", "f").places
    assert (places.values["a", "0", "c", "1"].line, places.values["a", "0", "c", "1"].column) == (3, 12)
    assert (places.keys["a", "0", "c"].line, places.keys["a", "0", "c"].column) == (3, 5)


@pytest.mark.parametrize(("word", "value"), [
    ("5", 5), ("-5", -5), ("0", 0), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("true", True), ("False", False),
    ("null", None), ("~", None), ("", None), ("0x1F", 31), ("2016-06-13", "2016-06-13"),
    ("2016-06-13T00:00:00", "2016-06-13T00:00:00"), ("Bus 5", "Bus 5"), ("1.2.3", "1.2.3"), ("y", "y"), ("5 s", "5 s"),
])
def test_plain_words(word: str, value: object) -> None:
    """Plain words mean what YAML 1.2 says; dates stay text."""
    assert plain_scalar(word) == value
    assert type(plain_scalar(word)) is type(value)


@pytest.mark.parametrize(("word", "advice"), [
    ("yes", "write true"), ("Off", "write false"), ("010", "write 10"), ("0o17", "write 17"), ("1_000", "write 1000"),
    ("1:30", "write 90"), ("-1:30", "write -90"), ("1:30:00", "write 5400"), (".nan", "expected a finite number"),
    ("-.inf", "expected a finite number"), ("1e999", "expected a finite number"), ("9" * 50, "at most 40"),
])
def test_unclear_words_are_refused_with_advice(word: str, advice: str) -> None:
    """What YAML readers disagree about, and what is not finite, is refused; the message says what to write."""
    (problem,) = noted(f"a: {word}")
    assert advice in problem
    assert problem.startswith("f:1:4: a: ")


def test_quoted_words_are_text() -> None:
    """In quotes every word is text."""
    tree = parse_yaml("[\"yes\", '010', '1:30', '.nan']", "f")
    assert tree.data == ["yes", "010", "1:30", ".nan"]
    assert not tree.problems


def test_duplicate_keys_are_errors() -> None:
    """The second of two equal keys is named, with the line of the first."""
    assert noted("a: 1\nb: 2\na: 3\n") == ["f:3:1: the key 'a' appears twice (first on line 1); keep one"]


@pytest.mark.parametrize(("text", "message"), [
    ("1: x", "f:1:1: the key 1 is not text in every YAML reader; write '1' in quotes if it is meant"),
    ("on: x", "f:1:1: the key on is not text in every YAML reader; write 'on' in quotes if it is meant"),
    ("? [a]\n: x", "f:1:3: a key that is not text; expected a name"),
    ("a: !x y", "f:1:4: found the tag !x; tags are not accepted, write the value plainly"),
    ("a: *b", "f:1:4: *b names no anchor above it; known: none"),
    ("a: &a [*a]", "f:1:8: *a contains itself"),
    ("a: 1\n---\nb: 2", "f:2:1: a second YAML document (---) starts here; expected one document"),
    ("<<: 5", "f:1:5: << merges mappings; found something else"),
    ('a: "\\ud800"', "f:1:4: an escape that is half a surrogate pair; expected a Unicode character"),
])
def test_refused_structures(text: str, message: str) -> None:
    """Keys that are not text, tags, unknown or circular aliases and second documents are refused with their place."""
    if "ud800" in text and "half" not in refused(text):
        pytest.skip("this YAML scanner refuses the escape itself")
    assert refused(text) == message


def test_python_objects_are_refused() -> None:
    """YAML may not name Python code."""
    assert "found the tag tag:yaml.org,2002:python/name:os.system" in refused("a: !!python/name:os.system x")


def test_tabs_are_named() -> None:
    """A tab for indentation says to use spaces, with its line."""
    message = refused("a:\n\tb: 1\n")
    assert message.startswith("f:2:1: not valid YAML")
    assert "spaces, not tabs" in message


def test_syntax_error_has_a_place() -> None:
    """A syntax error names line and column."""
    assert refused("a: [1, 2\nb: 3\n").startswith("f:2:2: not valid YAML")


def test_deep_nesting_is_refused() -> None:
    """More than the depth limit is refused, however deep it is."""
    assert "nested more than 50 deep" in refused("[" * 52 + "]" * 52)
    assert "deep" in refused("- " * 100_000) or "YAML" in refused("- " * 100_000)
    parse_yaml("[" * 51 + "]" * 51, "f")


def test_alias_bomb_is_refused() -> None:
    """Aliases count expanded: nine levels of nine (a billion values) are refused at once."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert "more than 500,000 values" in refused("\n".join(levels))


def test_deep_aliases_are_refused() -> None:
    """Nesting through aliases counts."""
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 60)]
    assert "once *a" in refused("\n".join(lines))


def test_aliases_and_merge_keys_work() -> None:
    """An alias repeats a value; a merged mapping gives way to the mapping's own keys."""
    tree = parse_yaml("base: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}\nd: *b\n", "f")
    assert tree.data == {"base": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}, "d": {"x": 1, "y": 2}}
    assert tree.places.values["c", "x"].line == 1


def test_pure_python_scanner_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libyaml the result is the same."""
    text = "a: [1, {b: x}]\nc: yes\n"
    fast = parse_yaml(text, "f")
    monkeypatch.setattr(yaml_tree, "_Loader", yaml.SafeLoader)
    slow = parse_yaml(text, "f")
    assert (fast.data, fast.problems, fast.places.values) == (slow.data, slow.problems, slow.places.values)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text whatsoever gives anything but a tree or a ScenarioError."""
    try:
        said = repr(parse_yaml(text, "f"))
    except ScenarioError as error:
        said = str(error)
    assert said


SCALARS = (st.none() | st.booleans() | st.integers(-10**9, 10**9) | st.floats(allow_nan=False, allow_infinity=False)
           | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8))
KEYS = st.text("abcdef", min_size=1, max_size=4)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
                    max_leaves=20))
def test_what_json_writes_is_read_back(data: object) -> None:
    """Any JSON data comes back as it was: reading loses and changes nothing."""
    tree = parse_yaml(json.dumps(data, ensure_ascii=False), "f")
    assert tree.data == data
    assert not tree.problems


def test_file_name_is_kept(tmp_path: Path) -> None:
    """Places carry the file that was named."""
    assert parse_yaml("a: 1", str(tmp_path)).places.values["a",].file == str(tmp_path)
