"""What several runs need is one job before them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from socketlab.runs.sweeps.grid import SweepFile
from socketlab.runs.sweeps.jobs import jobs_of
from socketlab.runs.sweeps.record import Job

SEEDS = {"method": ["tent"], "seed": [0, 1]}


@pytest.fixture
def make(tiny_scenes: Path) -> Any:
    def made(**values: Any) -> list[Job]:
        parameters = {"data": str(tiny_scenes), "size": 32} | values.pop("parameters", {})
        return jobs_of(SweepFile.model_validate({"sweep": "s", "parameters": parameters, **values}))

    return made


def of_kind(jobs: list[Job], kind: str) -> list[str]:
    return [job.name for job in jobs if job.kind == kind]


def test_a_source_model_for_each_seed_and_not_for_each_target_or_method(make: Any) -> None:
    grid = {"method": ["tent", "socket"], "target": ["a/depth", "a/nir"], "seed": [0, 1]}
    jobs = make(grid=grid)
    assert len(of_kind(jobs, "data")) == 1
    assert of_kind(jobs, "source") == ["source-a.rgb-seed0", "source-a.rgb-seed1"]
    assert len(of_kind(jobs, "run")) == 8
    (run,) = [job for job in jobs if job.name == "tent-a.nir-seed1"]
    assert run.after == [*of_kind(jobs, "data"), "source-a.rgb-seed1"]
    assert run.point == {"method": "tent", "target": "a/nir", "seed": 1}


def test_every_job_comes_after_those_it_needs(make: Any) -> None:
    jobs = make(grid={"method": ["tgkt", "socket"], "seed": [0]})
    seen: set[str] = set()
    for job in jobs:
        assert set(job.after) <= seen
        seen.add(job.name)


def test_a_source_model_for_each_of_its_own_options(make: Any) -> None:
    jobs = make(grid={"method": ["tent", "socket"], "source_options.epochs": [1, 2]})
    assert len(of_kind(jobs, "source")) == 2


def test_options_of_methods_are_none_of_the_source_models(make: Any) -> None:
    jobs = make(parameters={"method": "socket"}, grid={"options.socket.epochs": [1, 2]})
    assert len(of_kind(jobs, "source")) == 1


def test_a_translator_where_a_method_sees_through_one(make: Any) -> None:
    jobs = make(grid={"method": ["tgkt", "socket"], "target": ["a/depth", "a/nir"]})
    assert of_kind(jobs, "translator") == [
        "translator-a.depth-held_out-seed0",
        "translator-a.nir-held_out-seed0",
    ]
    by_name = {job.name: job for job in jobs}
    assert "translator-a.nir-held_out-seed0" in by_name["tgkt-a.nir"].after
    assert of_kind(jobs, "source")[0] in by_name["translator-a.nir-held_out-seed0"].after
    assert not any(name.startswith("translator") for name in by_name["socket-a.nir"].after)


def test_a_comparison_needs_a_source_model_for_each_of_its_seeds(make: Any) -> None:
    jobs = make(
        notebooks=["06_compare"],
        parameters={"seeds": [0, 1], "targets": ["a/depth", "a/nir"]},
        grid={"methods": [["source_only", "tgkt"]]},
    )
    assert len(of_kind(jobs, "source")) == 2
    assert len(of_kind(jobs, "translator")) == 4


def test_an_own_source_model_is_scored_by_each_run_and_trained_by_none(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from socketlab.models.own_model_spec import OwnModel
    from socketlab.runs import shared_parameters

    class Own:
        trained_on = None

        def rows(self, _: object) -> None:
            return None

        def fingerprint(self) -> str:
            return "x"

    own: OwnModel = Own()  # type: ignore[assignment]
    monkeypatch.setattr(shared_parameters, "read_own_model", lambda _: own)
    jobs = make(parameters={"source_model": "own.yaml"}, grid=SEEDS)
    assert of_kind(jobs, "source") == []
    steps = [[name for name, _ in job.steps] for job in jobs if job.kind == "run"]
    assert steps == [["02_train_source", "05_transfer"]] * 2


def test_nothing_of_a_job_depends_on_where_it_runs(make: Any) -> None:
    jobs = make(grid=SEEDS)
    text = yaml.safe_dump([job.model_dump(mode="json") for job in jobs])
    assert [Job.model_validate(job.model_dump(mode="json")) for job in jobs] == jobs
    assert str(Path.cwd()) not in text
