"""The registry: kinds by entry point and by folder, and what it says when something is wrong."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cosim.errors import PluginError
from cosim.plugins import FAMILIES, PluginConfig, Registry
from cosim.plugins import registry as registry_module

PLUGIN = '''
from cosim.plugins import PluginConfig

class {name}:
    """A device."""

    family = "{family}"
    kind = "{kind}"
    Config = PluginConfig

    @classmethod
    def build(cls, configs, site):
        return "{kind}"
'''


def plugin(name: str = "Fan", kind: str = "fan", family: str = "device") -> str:
    """Source of a plugin file."""
    return PLUGIN.format(name=name, kind=kind, family=family)


def written(folder: Path, **files: str) -> Path:
    """A folder of modules."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


class Fan:
    """A well-formed plugin."""

    family, kind, Config = "device", "fan", PluginConfig

    @classmethod
    def build(cls, configs: object, site: object) -> str:
        """Make it."""
        return "fan"


# -- by entry point ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_installed_kind_loads_and_is_what_it_says(family: str) -> None:
    """Kind and family of the class are those it is registered under."""
    registry = Registry()
    assert registry.kinds(family)
    for kind in registry.kinds(family):
        found = registry.get(family, kind)
        assert (found.family, found.kind) == (family, kind)
        assert registry.get(family, kind) is found
        assert found.summary


def test_an_unknown_kind_lists_the_known_and_suggests() -> None:
    """The message helps; a registry without kinds says so."""
    with pytest.raises(PluginError, match=r"unknown device kind 'batery'; did you mean 'battery'\? known: battery, "):
        Registry().get("device", "batery")
    with pytest.raises(PluginError, match=r"unknown policy kind 'x'; known: none$"):
        Registry(installed=False).get("policy", "x")


def entry(value: str, name: str = "fan") -> EntryPoint:
    """An entry point of the device family."""
    return EntryPoint(name=name, value=value, group=FAMILIES["device"])


def installed(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> Registry:
    """A registry of exactly these entry points."""
    monkeypatch.setattr(registry_module, "entry_points",
                        lambda group: [e for e in entries if e.group == group])
    return Registry()


def test_an_entry_point_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when it is asked for: a broken package does not stop runs that do not use it."""
    registry = installed(monkeypatch, entry("no_such_package.x:Y"))
    with pytest.raises(PluginError, match=r"device kind 'fan' \(no_such_package\.x:Y\) cannot be loaded: No module"):
        registry.get("device", "fan")


@pytest.mark.parametrize("value", ["math:pi", "json:loads", "json", "decimal:Decimal"])
def test_an_entry_point_to_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A number, a function, a module, a class without Config."""
    with pytest.raises(PluginError, match="needs a `Config`"):
        installed(monkeypatch, entry(value)).get("device", "fan")


def test_two_packages_that_offer_one_kind_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one wins would depend on the installation; the same line found twice is no clash."""
    with pytest.raises(PluginError, match=r"'fan' is offered twice by what is installed: a:Fan and b:Fan"):
        installed(monkeypatch, entry("b:Fan"), entry("a:Fan"))
    assert installed(monkeypatch, entry("a:Fan"), entry("a:Fan")).kinds("device") == ("fan",)


# -- added by hand ----------------------------------------------------------------------------------------------------


def test_a_second_of_one_kind_is_refused() -> None:
    """A built-in cannot be replaced under its name; another family may use it."""
    registry = Registry()
    registry.add(Fan, origin="mine")
    with pytest.raises(PluginError, match=r"^mine: device kind 'fan' exists already"):
        registry.add(Fan, origin="mine")
    with pytest.raises(PluginError, match="'pv' exists already"):
        registry.add(type("Sun", (Fan,), {"kind": "pv"}), origin="mine")
    registry.add(type("FanPolicy", (Fan,), {"family": "policy"}), origin="mine")


@pytest.mark.parametrize(("changes", "message"), [
    ({"family": "gadget"}, r"needs `family` \(one of device, policy, rule, disturbance, listener, station, term\)"),
    ({"family": ["device"]}, "needs `family`"), ({"kind": None}, "and `kind`"), ({"Config": None}, "needs a `Config`"),
    ({"Config": dict}, "needs a `Config` derived from"), ({"build": None}, None)])
def test_a_class_that_lacks_something_is_told_what(changes: dict[str, object], message: str | None) -> None:
    """Family, kind, Config, build."""
    registry = Registry(installed=False)
    made = type("Odd", (Fan,), changes)
    if message is None:
        made = type("Odd", (), {"family": "device", "kind": "odd", "Config": PluginConfig})
        message = "needs a `build` class method"
    with pytest.raises(PluginError, match=f"^here: Odd {message}|{message}"):
        registry.add(made, origin="here")


# -- by folder --------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_public_classes(tmp_path: Path) -> None:
    """Every file in order; imported classes, private ones and aliases do not count."""
    folder = written(tmp_path / "mine", b=plugin("B", "bee"), a=plugin("A", "ay") + "Alias = A\n\nclass _Hidden(A):\n"
                     "    kind = 'hidden'\n", c="from cosim.devices.pv import PV\n" + plugin("C", "cee", "policy"))
    registry = Registry()
    assert registry.add_folder(folder) == ("device:ay", "device:bee", "policy:cee")
    assert registry.get("device", "bee").build([], None) == "bee"


def test_one_file_may_be_named(tmp_path: Path) -> None:
    """Instead of a folder."""
    folder = written(tmp_path / "mine", a=plugin())
    assert Registry(installed=False).add_folder(folder / "a.py") == ("device:fan",)


def test_two_folders_may_hold_files_of_one_name(tmp_path: Path) -> None:
    """Each class stays in the module it came from."""
    registry = Registry(installed=False)
    registry.add_folder(written(tmp_path / "one", unit=plugin("One", "one")))
    registry.add_folder(written(tmp_path / "two", unit=plugin("Two", "two")))
    for kind, name in (("one", "One"), ("two", "Two")):
        found = registry.get("device", kind)
        assert getattr(sys.modules[found.__module__], name) is found


def test_two_files_of_one_kind_clash(tmp_path: Path) -> None:
    """The second file is named."""
    folder = written(tmp_path / "mine", a=plugin(), b=plugin("Other"))
    with pytest.raises(PluginError, match=r"b\.py: device kind 'fan' exists already"):
        Registry(installed=False).add_folder(folder)


@pytest.mark.parametrize(("text", "message"), [
    ("def broken(:\n", r"bad\.py: cannot be imported: SyntaxError: invalid syntax \(bad\.py, line 1\)"),
    ("import no_such_thing\n", r"bad\.py: cannot be imported: ModuleNotFoundError"),
    ("raise SystemExit(0)\n", r"bad\.py: cannot be imported: SystemExit"), ("1 / 0\n", "ZeroDivisionError"),
    ("a\0b", "cannot be imported: "), ("x = 1\n", "no plugin class found"), ("", "no plugin class found")])
def test_a_bad_file_is_named_with_its_problem(tmp_path: Path, text: str, message: str) -> None:
    """Syntax, imports, exits at import, nothing in it; nothing stays among the modules."""
    folder = written(tmp_path / "mine", bad=text)
    with pytest.raises(PluginError, match=message):
        Registry(installed=False).add_folder(folder)
    if "imported" in message:
        assert [name for name in sys.modules if name.startswith("gridloop_plugin_bad")] == []


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Bytes that are not UTF-8."""
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(PluginError, match=r"bad\.py: cannot be imported"):
        Registry(installed=False).add_folder(tmp_path)


def test_what_is_not_there_or_not_python_is_named(tmp_path: Path) -> None:
    """A missing path, an empty folder, another kind of file."""
    registry = Registry(installed=False)
    (tmp_path / "notes.txt").write_text("hello")
    for place, message in (("gone", "plugin file not found"), ("notes.txt", "not a Python file"),
                           ("", "no plugin class found")):
        with pytest.raises(PluginError, match=message):
            registry.add_folder(tmp_path / place)
