"""From a sweep's file to its jobs: what the grid asks for, and before it what several runs need.

Whatever is needed before is a run of its own notebook, once for all that need the same of it. Jobs
that look unlike and are alike all the same cost little: whoever comes second finds the finished
stage by its fingerprint.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from socketlab.runs.parameters import Compare, WithMethods, validate
from socketlab.runs.places import home
from socketlab.runs.planning import Planned, cell_defaults
from socketlab.runs.shared_parameters import Parameters, RunParameters
from socketlab.runs.stages import digest
from socketlab.runs.sweeps.grid import SweepFile, named_points, planned_run, run_name
from socketlab.runs.sweeps.record import Job, Kind, SweepError
from socketlab.runs.translators import SUFFIX, TRAINED_BY, translator_name

SHARED = "shared"
_OWN = {"run", "runs_dir", "shared"}  # of a run, whatever it trains
_NOTEBOOKS: dict[Kind, str] = {
    "data": "01_prepare_data",
    "source": "02_train_source",
    "translator": "04_train_translator",
}


def sweep_folder(given: SweepFile) -> Path:
    """Where a sweep and all its runs lie."""
    return home() / str(given.parameters.get("runs_dir", "runs")) / given.sweep


def jobs_of(given: SweepFile) -> list[Job]:
    """All jobs of a sweep, each after those that it needs.

    Raises:
        SweepError, ParameterError: naming the run and what is wrong with it; nothing has run yet.
    """
    folder = str(given.parameters.get("runs_dir", "runs")) + f"/{given.sweep}"
    before, runs = _Before(folder), []
    for name, point in named_points(given).items():
        planned = planned_run(given, point, name=name, folder=folder, shared=f"{folder}/{SHARED}")
        parameters = [step.parameters for step in planned]
        after = list(dict.fromkeys(job for each in parameters for job in before.needed(each)))
        steps = [*_own_source(planned), *((each.notebook, _values(each)) for each in planned)]
        runs.append(Job(name=name, steps=steps, after=after, point=point))
    found = [*before.jobs, *runs]
    names = [job.name for job in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SweepError(
            f"A run would be called {twice[0]!r}, as another job is. Rename its values."
        )
    return found


def _values(step: Planned) -> dict[str, Any]:
    return step.parameters.model_dump(mode="json")


def _own_source(planned: Sequence[Planned]) -> Iterator[tuple[str, dict[str, Any]]]:
    """An own source model is scored and kept by the run itself: nobody trains it."""
    first = planned[0].parameters
    alone = all(step.notebook != _NOTEBOOKS["source"] for step in planned)
    if isinstance(first, Parameters) and first.source_model is not None and alone:
        yield _NOTEBOOKS["source"], _restricted(first, "source")


class _Before:
    """The jobs that others need, each once."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[tuple[str, str], str] = {}
        self.jobs: list[Job] = []

    def needed(self, given: RunParameters) -> list[str]:
        """The names of the jobs that must be done before a notebook with these parameters."""
        if not isinstance(given, Parameters):
            return []
        pairs = given.pair_manifest(given.protocol)
        data = self._job(
            "data",
            _restricted(given, "data"),
            [given.data, str(given.size)],
            (given.data, given.root, given.scenes_seed, given.size, given.data_dir)
            + ((pairs.name,) if pairs is not None else ()),
            after=[],
        )
        if given.source_model is not None:
            return [data]
        found = [data]
        seeds = given.seeds if isinstance(given, Compare) else [given.seed]
        for seed in seeds:
            values = _restricted(given, "source") | {"seed": seed}
            key = {k: v for k, v in values.items() if k not in ("target", "encoding")}
            words = [*given.source_domains, f"seed{seed}"]
            source = self._job("source", values, words, key, after=[data])
            found.append(source)
            for translator, target, protocol in _translators(given):
                values = _restricted(given, "translator", translator)
                values |= {"seed": seed, "target": target, "protocol": protocol}
                variant = [] if translator == TRAINED_BY else [translator]
                words = [target, protocol, *variant, f"seed{seed}"]
                found.append(self._job("translator", values, words, values, after=[source]))
        return found

    def _job(
        self, kind: Kind, values: dict[str, Any], words: list[str], key: Any, *, after: list[str]
    ) -> str:
        identity = digest(key)
        name = self._names.get((kind, identity))
        if name is None:
            name = f"{kind}-{run_name({word: word for word in words})}"
            if name in self._names.values():
                name = f"{name}-{identity[:8]}"
            self._names[kind, identity] = name
            own = {"run": name, "runs_dir": self._folder, "shared": f"{self._folder}/{SHARED}"}
            step = (_NOTEBOOKS[kind], values | own)
            validate(*step)
            self.jobs.append(Job(name=name, kind=kind, steps=[step], after=after))
        return name


def _restricted(given: Parameters, kind: Kind, translator: str = "") -> dict[str, Any]:
    """Of the parameters of a run those that the notebook of a job before it has."""
    notebook = _NOTEBOOKS[kind]
    values = cell_defaults(notebook) | given.model_dump(mode="json")
    known = type(validate(notebook, {})).model_fields
    values = {name: value for name, value in values.items() if name in known and name not in _OWN}
    if kind == "translator":
        names = {translator, TRAINED_BY}
        for each in ("options", "variants"):
            values[each] = {k: v for k, v in values[each].items() if k in names}
        values |= {"translator": translator, "changes": []}
    return values


def _translators(given: Parameters) -> Iterator[tuple[str, str, str]]:
    """Translator, target and protocol of every translator that a notebook sees through."""
    if not isinstance(given, WithMethods):
        return
    targets, protocols = [given.target], [given.protocol]
    if isinstance(given, Compare):
        targets, protocols = given.targets or targets, given.protocols or protocols
    names = [translator_name(given, method) for method in given.used_methods()]
    for name in dict.fromkeys(names):
        if name is not None and not name.endswith(SUFFIX):
            for target in targets:
                for protocol in protocols:
                    yield name, target, protocol
