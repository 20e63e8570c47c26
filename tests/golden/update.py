"""Run the shipped scenarios, print what changed against the figures kept, and keep the new ones.

    python tests/golden/update.py [SCENARIO ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden import figures


def main(asked: list[str]) -> None:
    """Update the named scenarios, or all of them."""
    for name in asked or figures.names():
        with tempfile.TemporaryDirectory(prefix="gridloop-golden-") as scratch:
            ran = figures.run(name, Path(scratch) / "result")
        is_new = not figures.golden_file(name).exists()
        changed = [] if is_new else figures.differences(figures.read(name), ran.figures)
        word = "new" if is_new else f"{len(changed)} changed"
        sys.stdout.write("\n  ".join([f"{name}: {ran.status}; {word}", *changed]) + "\n")
        if is_new or changed:
            figures.write(name, ran.figures)


if __name__ == "__main__":
    main(sys.argv[1:])
