"""What an unquoted word of a scenario file means: YAML 1.2's core schema, and no guessing.

YAML 1.1 and 1.2 read some plain words differently (``yes``, ``010``, ``1:30``, ``1_000``).  A number that silently
becomes another number is worse than an error, so these are refused with the two ways to say what was meant.  Dates
stay text: whoever expects one parses it.  Source: YAML 1.2.2 section 10.3.2; YAML 1.1 types bool, int, float.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

#: Longest number accepted, digits and all: beyond it nothing is a meaningful quantity.
MAX_NUMBER = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OLD_BOOLS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_HEX = re.compile(r"0x[0-9a-fA-F]+$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_OCTAL = re.compile(r"[-+]?0o?[0-9_]+$")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$")
_SPACED = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")


class UnclearScalarError(ValueError):
    """A plain word that must be written in another way; the message says how."""


def plain_scalar(word: str) -> Scalar:
    """The value of an unquoted word; raises `UnclearScalarError` where readers would disagree or it is not finite."""
    if word in _NULL:
        return None
    if word in _BOOLS:
        return _BOOLS[word]
    _refuse_unclear(word)
    if len(word) > MAX_NUMBER:
        return word
    if _INT.match(word):
        return int(word)
    if _HEX.match(word):
        return int(word, 16)
    if _FLOAT.match(word):
        return _finite(word)
    return word


def _refuse_unclear(word: str) -> None:
    if word.lower() in _OLD_BOOLS and word in {word.lower(), word.capitalize(), word.upper()}:
        _refuse(word, "a yes/no value in some YAML readers and text in others", _OLD_BOOLS[word.lower()])
    if _NOT_FINITE.match(word):
        raise UnclearScalarError(f"found {word}; expected a finite number")
    if len(word) > MAX_NUMBER and _SPACED.match(word):
        raise UnclearScalarError(f"a number of {len(word)} characters; expected at most {MAX_NUMBER}")
    if _BASE_60.match(word) and len(word) <= MAX_NUMBER:
        _refuse(word, "a base-60 number in some YAML readers and text in others", _base_60(word))
    if _OCTAL.match(word) and not _INT.match(word):
        _refuse(word, "octal in some YAML readers and decimal in others", word.replace("o", "").lstrip("+-0") or "0")
    if "_" in word and _SPACED.match(word):
        _refuse(word, "a number in some YAML readers and text in others", word.replace("_", ""))


def _refuse(word: str, why: str, plain: str) -> None:
    raise UnclearScalarError(f"{word} is {why}; write {plain}, or '{word}' in quotes if text is meant")


def _base_60(word: str) -> str:
    whole = 0.0
    for part in word.replace("_", "").lstrip("+-").split(":"):
        whole = whole * 60 + float(part)
    return f"{'-' if word.startswith('-') else ''}{whole:.10g}"


def _finite(word: str) -> float:
    value = float(word)
    if value in (float("inf"), float("-inf")):
        raise UnclearScalarError(f"found {word}; expected a finite number")
    return value
