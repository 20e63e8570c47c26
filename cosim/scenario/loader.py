"""A scenario file to a validated `Scenario`: every error at once, each with file, line, column and what would do.

Steps: find the file, read it under a size limit, YAML to plain data with places, overrides, the user's own plugins
(only if allowed), the schema, the options of every plugin, then the cross checks of `cosim.scenario.rules`.
References into the network (buses, elements, points) are checked when the simulation is built; `LoadedScenario.place`
gives those problems their line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from cosim.errors import PluginError, Problem, ScenarioError
from cosim.plugins import Registry
from cosim.scenario.find import find_scenario, read_text
from cosim.scenario.overrides import apply_overrides
from cosim.scenario.plugin_options import plugin_problems
from cosim.scenario.problems import Origin, described, shown, validated
from cosim.scenario.rules import View, judge
from cosim.scenario.schema import Scenario
from cosim.scenario.yaml_tree import Place, Places, Tree, parse_yaml

#: Most problems reported at once: after a thousand nobody reads on.
MAX_PROBLEMS = 1_000


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario that passed every check that needs no network.

    `text` and `overrides` (a seed given apart is the last, ``seed=N``) load it again, relative to `base_dir`.
    """

    scenario: Scenario
    path: Path
    base_dir: Path
    text: str
    overrides: tuple[str, ...]
    registry: Registry
    warnings: tuple[Problem, ...] = ()
    places: Places = field(default_factory=Places, repr=False, compare=False)

    def locate(self, path: str) -> tuple[str, int, int]:
        """(file, line, column) of ``agents.3.observe.1``, or of its nearest ancestor in the file."""
        place = self.places.value(tuple(path.split(".")) if path else ())
        return place.file or str(self.path), place.line, place.column

    def place(self, error: ScenarioError) -> ScenarioError:
        """The same problems with file, line and column filled in from their paths, in file order."""
        return ScenarioError(_in_order([self._placed(problem) for problem in error.problems]))

    def _placed(self, problem: Problem) -> Problem:
        if problem.line or (problem.file and not problem.path):
            return problem
        file, line, column = self.locate(problem.path)
        return replace(problem, file=problem.file or file, line=line, column=column)


def load_scenario(name_or_path: str | Path, *, overrides: Sequence[str] = (), seed: int | None = None,
                  registry: Registry | None = None, allow_plugins: bool = False) -> LoadedScenario:
    """The scenario of a file, or of a shipped scenario's name; raises ScenarioError with every problem found."""
    path = find_scenario(name_or_path)
    return load_text(read_text(path), path=path, overrides=overrides, seed=seed, registry=registry,
                     allow_plugins=allow_plugins)


def load_text(text: str, *, path: Path, base_dir: Path | None = None, overrides: Sequence[str] = (),
              seed: int | None = None, registry: Registry | None = None,
              allow_plugins: bool = False) -> LoadedScenario:
    """As `load_scenario`, from text: `path` is what messages name, `base_dir` where relative files are sought."""
    tree = parse_yaml(text, str(path))
    if not isinstance(tree.data, dict):
        raise ScenarioError((_no_mapping(tree, str(path)),))
    changes = (*overrides, *(() if seed is None else (f"seed={seed}",)))
    problems = [*tree.problems, *apply_overrides(tree.data, changes, tree.places)]
    base = path.parent if base_dir is None else base_dir
    known = registry if registry is not None else Registry()
    problems += _add_plugins(tree, base, known, allow_plugins)
    scenario, found = _check(tree, known)
    problems = _without_echoes(problems, found)
    judged = judge(View(tree.data))
    problems += [_placed_at(p, tree.places) for p in judged.errors]
    if problems or scenario is None:
        raise ScenarioError(_in_order(problems))
    warnings = _in_order([_placed_at(p, tree.places) for p in judged.warnings])
    return LoadedScenario(scenario, path, base, text, changes, known, warnings, tree.places)


def _check(tree: Tree, registry: Registry) -> tuple[Scenario | None, list[Problem]]:
    """The model (None when invalid) and what the schema and the plugins' options say."""
    problems: list[Problem] = []
    scenario: Scenario | None = None
    try:
        scenario = validated(Scenario, tree.data)
    except ValidationError as error:
        problems += described(error, Origin(Scenario, tree.data, (), tree.places))
    problems += plugin_problems(tree.data, registry, tree.places)
    return scenario, problems


def _add_plugins(tree: Tree, base: Path, registry: Registry, allowed: bool) -> list[Problem]:
    """Load the scenario's own plugins, or say why not."""
    folders = tree.data.get("plugins")
    if not isinstance(folders, list) or not folders:
        return []
    if not allowed:
        return [_placed_at(Problem("this scenario brings its own code, which is loaded only with --allow-plugins "
                                   "(read it first)", "plugins", rule="plugins-allowed"), tree.places)]
    problems: list[Problem] = []
    for index, folder in enumerate(folders):
        if isinstance(folder, str):
            try:
                registry.add_folder(base / folder)
            except (PluginError, OSError, ValueError) as error:
                problems.append(_placed_at(Problem(str(error), f"plugins.{index}", rule="plugin"), tree.places))
    return problems


def _without_echoes(first: list[Problem], later: list[Problem]) -> list[Problem]:
    """`first`, and of `later` what does not speak about a value that `first` already refused."""
    refused = {problem.path for problem in first if problem.path}
    # A kind is unknown because its plugin could not be loaded: one cause, one message.
    lacks_plugins = any(problem.rule in ("plugin", "plugins-allowed") for problem in first)
    return first + [problem for problem in later if problem.path not in refused
                    and not (lacks_plugins and problem.rule == "plugin")]


def _no_mapping(tree: Tree, file: str) -> Problem:
    if tree.data is None:
        return Problem("the file is empty; `gridloop init` writes a scenario to start from", "", file, 1, 1, "yaml")
    place = tree.places.value(())
    return Problem(f"found {shown(tree.data)}; expected keys such as `name:` and `grid:`", "", file, place.line,
                   place.column, "yaml")


def _placed_at(problem: Problem, places: Places) -> Problem:
    place: Place = places.value(tuple(problem.path.split(".")) if problem.path else ())
    return replace(problem, file=place.file, line=place.line, column=place.column)


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """By line and column; what has no line (options) comes last."""
    ordered = sorted(problems, key=lambda p: (p.line == 0, p.file, p.line, p.column, p.path))
    if len(ordered) <= MAX_PROBLEMS:
        return tuple(ordered)
    return (*ordered[:MAX_PROBLEMS], Problem(f"… and {len(ordered) - MAX_PROBLEMS:,} more problems"))
