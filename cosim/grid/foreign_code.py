"""What a pandapower JSON file may name: pandapower's reader imports every module that the file asks for.

An import runs code.  A network file, or a result folder with one in it, comes from anywhere, and a folder of Python
files beside it is found by ``python -m``; so modules outside `KNOWN` are refused before pandapower sees the file, and
so is a table that stands for another file on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cosim.errors import GridError

#: First parts of module names that pandapower writes.
KNOWN = frozenset({"builtins", "geopandas", "networkx", "numpy", "pandapower", "pandas", "shapely"})
#: Deepest text within a text: a table within a network is one, an object within a table two.
MAX_DEPTH = 8


def refuse_foreign_code(text: str, name: str) -> None:
    """Raises GridError when the JSON `text` of the file `name` asks for modules or files that are not the format's."""
    for module, content in _objects(text, 0):
        if not isinstance(module, str) or module.partition(".")[0] not in KNOWN:
            raise GridError(f"{name}: asks for the Python module {module!r:.80}; a network file may name those of "
                            f"{', '.join(sorted(KNOWN))}")
        if isinstance(content, str) and content.lstrip()[:1] not in ("{", "[") and content.endswith(".json"):
            raise GridError(f"{name}: refers to another file, {content!r:.80}; expected one file written by "
                            "pandapower.to_json")


def _objects(text: str, depth: int) -> Iterator[tuple[Any, Any]]:
    """(module, content) of every object in a JSON text, and in the texts within it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"text within text more than {MAX_DEPTH} deep")
    waiting = [json.loads(text)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if "_module" in value:
                yield value["_module"], value.get("_object")
            waiting += value.values()
        # A text without braces holds no object (a list of names, say): not every text is JSON.
        elif isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and "{" in value:
            yield from _objects(value, depth + 1)
