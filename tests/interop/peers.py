"""Programs and libraries of others that speak Modbus: found, compiled and run, or a skip that names what is missing."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.hil.served import ROOT

HERE = Path(__file__).parent
#: Longest that one peer's program may run.
PROGRAM_S = 20.0
#: Longest that a value may take from a write to what is read back: fifty scans of the plant.
SETTLE_S = 5.0
NPM = "npm install --ignore-scripts --no-package-lock --no-audit --no-fund --prefix tests/interop"


def program(name: str, package: str) -> str:
    """Its path; skips with the Debian package that has it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (apt install {package})")
    return path


def module(name: str, package: str) -> Any:
    """A Python module; skips with the name that pip knows it by."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        pytest.skip(f"{package} is not installed (pip install {package})")


def node(package: str) -> tuple[str, dict[str, str]]:
    """Path of node and an environment in which it finds `package`."""
    path = program("node", "nodejs")
    places = [os.environ.get("GRIDLOOP_NODE_MODULES", ""), str(HERE / "node_modules"), str(ROOT / "node_modules"),
              *os.environ.get("NODE_PATH", "").split(os.pathsep)]
    for place in filter(None, places):
        if (Path(place) / package / "package.json").is_file():
            return path, {**os.environ, "NODE_PATH": place}
    pytest.skip(f"{package} is not installed ({NPM})")


def compiled(source: str, folder: Path) -> Path:
    """A C program of this folder, linked with libmodbus."""
    compiler, target = program("gcc", "gcc"), folder / Path(source).stem
    flags = ["-I", "/usr/include/modbus", "-I", "/usr/local/include/modbus"]
    probe = subprocess.run([compiler, *flags, "-E", "-x", "c", "-"], input="#include <modbus.h>\n", text=True,
                           capture_output=True, timeout=PROGRAM_S, check=False)
    if probe.returncode:
        pytest.skip("libmodbus is not installed (apt install libmodbus-dev)")
    if not target.exists():
        made = subprocess.run([compiler, "-Wall", "-Wextra", "-O1", *flags, str(HERE / source), "-o", str(target),
                               "-lmodbus"], capture_output=True, text=True, timeout=60, check=False)
        assert made.returncode == 0, made.stderr
    return target


def run(*command: str | Path, env: dict[str, str] | None = None, code: int | None = 0) -> str:
    """Standard output of a program that ends by itself, with `code` (None: any), in bounded time."""
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, timeout=PROGRAM_S,
                          stdin=subprocess.DEVNULL, check=False)
    assert code is None or done.returncode == code, f"{command[0]}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + (done.stderr if code != 0 else "")


@contextmanager
def pty_pair(folder: Path) -> Iterator[tuple[Path, Path] | None]:
    """Two ends of a serial line made by socat, which is ended by its id; None: there is no socat."""
    socat, ends = shutil.which("socat"), (folder / "line_a", folder / "line_b")
    if socat is None:
        yield None
        return
    with subprocess.Popen([socat, *(f"pty,raw,echo=0,link={end}" for end in ends)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            settled(lambda: all(end.exists() for end in ends), True)
            yield ends
        finally:
            process.terminate()
            process.wait(timeout=PROGRAM_S)


def settled(read: Callable[[], Any], expected: Any, within_s: float = SETTLE_S) -> None:
    """Read until it is as expected (`pytest.approx` will do), or fail with what was found last."""
    end = monotonic() + within_s
    while (found := read()) != expected and monotonic() < end:
        sleep(0.02)
    assert found == expected
