"""One experiment as a notebook sees it: data, source model, transfers, all kept in a run."""

import os
import time
from collections.abc import Iterator
from functools import cached_property

from matplotlib.figure import Figure

from socketlab.data import Manifest
from socketlab.data.store import Store, prepare
from socketlab.data.views import Views, open_views
from socketlab.methods import build_method, check_options
from socketlab.methods.base import Transfer
from socketlab.methods.source import Source, check_source_options
from socketlab.models.checkpoint import CheckpointError, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.runs.keeping import (
    has_model,
    is_kept,
    keep_model,
    keep_result,
    model_file,
    recorded,
    source_weights,
    state_file,
)
from socketlab.runs.parameters import (
    Compare,
    Parameters,
    WithMethods,
    at_home,
    manifest_of,
)
from socketlab.runs.record import PART_VARIABLE, Part, Picture, Record, Run
from socketlab.runs.stages import Trip, digest
from socketlab.training.inference import Score, Scorer, scorer
from socketlab.training.loop import Controls, Step
from socketlab.training.precision import choose_precision
from socketlab.training.state import StateFile


class Experiment:
    """Data, models and results of one set of parameters; opens or makes the run's folder.

    Everything that takes long is a stage of the run: a finished one is not done again, an
    interrupted one continues after its last whole epoch, and one whose parameters have changed is
    done anew and replaces what was there.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        weights = parameters.weights
        if weights not in ("none", "imagenet"):
            weights = str(at_home(weights))
        self.source_options = check_source_options(
            {"backbone": parameters.backbone, "weights": weights} | parameters.source_options
        )
        self.options = parameters.options if isinstance(parameters, WithMethods) else {}
        for name, options in self.options.items():
            check_options(name, options)
        self.precision = choose_precision(parameters.device, parameters.dtype)
        self.run = Run(parameters.folder)
        self.part = os.environ.get(PART_VARIABLE, parameters.notebook)
        self._views: tuple[tuple[str, str], Views] | None = None
        self._began = time.monotonic()
        self.run.change(self._announce)
        print(f"Run {parameters.folder} on {self.precision}")

    def _announce(self, record: Record) -> None:
        record.status, record.reason = "running", ""
        record.configuration[self.part] = self.parameters.model_dump(mode="json")
        given = self.parameters
        seeds = given.seeds if isinstance(given, Compare) else [given.seed]
        record.seeds = sorted({*record.seeds, *seeds})
        record.device = {
            "name": self.precision.name,
            "kind": self.precision.device.type,
            "dtype": str(self.precision.dtype).removeprefix("torch."),
            "reason": self.precision.reason,
        }
        part = record.notebooks.get(self.part, Part())
        record.notebooks[self.part] = part.model_copy(update={"status": "running", "reason": ""})

    def finish(self) -> str:
        """Mark this notebook as done; the run is done when all its notebooks are."""

        def change(record: Record) -> None:
            part = record.notebooks[self.part]
            part.status, part.seconds = "done", time.monotonic() - self._began
            record.seconds = sum(part.seconds for part in record.notebooks.values())
            unfinished = [s for s, part in record.stages.items() if part.status != "done"]
            if unfinished:
                record.status = "stopped"
                record.reason = f"not trained to the end: {', '.join(unfinished)}"
            elif all(part.status == "done" for part in record.notebooks.values()):
                record.status, record.reason = "done", ""

        record = self.run.change(change)
        if record.status == "stopped":
            return f"The run is {record.reason}. Run the notebook again to go on."
        waiting = [name for name, part in record.notebooks.items() if part.status != "done"]
        return "The run is done." if not waiting else f"Done; still to do: {', '.join(waiting)}."

    def show(self, figure: Figure, name: str, *, title: str, caption: str) -> Picture:
        """Keep a figure of this notebook for the report, and show it as the cell's value."""
        return self.run.figure(
            figure, f"{self.part}-{name}", title=title, caption=caption, notebook=self.part
        )

    # --- data -----------------------------------------------------------------------------------

    @cached_property
    def manifest(self) -> Manifest:
        """What the data set says of itself."""
        return manifest_of(self.parameters.data)

    @cached_property
    def store(self) -> Store:
        """The prepared images; they are prepared now if they were not."""
        parameters = self.parameters
        root = at_home(parameters.root) if parameters.root else None
        return prepare(
            self.manifest,
            root=root,
            size=parameters.size,
            data_dir=at_home(parameters.data_dir),
            say=print,
        )

    def views(self, target: str | None = None, protocol: str | None = None) -> Views:
        """Who may see what, for a target domain and a protocol; the last ones are kept."""
        asked = (protocol or self.parameters.protocol, target or self.parameters.target)
        if self._views is None or self._views[0] != asked:
            source = self.parameters.source
            views = open_views(self.store, protocol=asked[0], source=source, target=asked[1])
            self._views = (asked, views)
        return self._views[1]

    def trip(
        self,
        method: str | None = None,
        target: str | None = None,
        protocol: str | None = None,
        seed: int | None = None,
    ) -> Trip:
        """A transfer, with the options that its method was given; else as the parameters say."""
        given = self.parameters
        method = method or str(getattr(given, "method", "source_only"))
        return Trip(
            method,
            target or given.target,
            protocol or given.protocol,
            given.seed if seed is None else seed,
            self.options.get(method, {}),
        )

    # --- the source model -----------------------------------------------------------------------

    def source_stage(self, seed: int | None = None) -> str:
        """The name of the source model's stage and files."""
        domain = self.parameters.source.replace("/", ".")
        return f"source-{domain}-seed{self.parameters.seed if seed is None else seed}"

    def train_source(
        self, seed: int | None = None, controls: Controls | None = None
    ) -> Iterator[Step]:
        """Train, keep and score the source model; nothing to do where it is done."""
        seed = self.parameters.seed if seed is None else seed
        stage, fingerprint = self.source_stage(seed), self._source_fingerprint(seed)
        if is_kept(self.run, stage, fingerprint):
            print(f"{stage}: done")
            return
        views, crop = self.views(), self.parameters.crop_pixels
        trainer = Source(self.source_options, crop=crop, seed=seed, precision=self.precision)
        state = state_file(self.run, stage, fingerprint)
        steps = trainer.fit(views.source, controls=controls, state=state)
        row = Trip("source", self.parameters.source, self.parameters.protocol, seed, {})
        evaluate = scorer(views.source_evaluation, crop, self.precision)
        yield from self._train(trainer, steps, evaluate, row, stage, state)

    def _train(
        self,
        task: Source | Transfer,
        steps: Iterator[Step],
        evaluate: Scorer,
        trip: Trip,
        stage: str,
        state: StateFile,
    ) -> Iterator[Step]:
        """A training as a stage of the run: timed, recorded, scored and kept."""
        with self.run.stage(stage, state.fingerprint) as part:
            yield from recorded(self.run, stage, steps, part)
            score = evaluate(task.model)
            if trip.method != "source_only":  # its model is the source model, which is kept
                options = task.options.model_dump(mode="json")
                about = (self.parameters, score, options, stage, state.fingerprint)
                keep_model(self.run, task.model, trip, *about)
            keep_result(self.run, trip, self.parameters, score, stage)
        if part.status == "done":
            state.remove()

    def source_model(self, seed: int | None = None) -> Classifier:
        """The source model that was trained with these parameters.

        Raises:
            CheckpointError: if there is none yet, saying which notebook makes it.
        """
        seed = self.parameters.seed if seed is None else seed
        stage = self.source_stage(seed)
        if not has_model(self.run, stage, self._source_fingerprint(seed)):
            raise CheckpointError(
                f"Run {self.parameters.run!r} has no source model {stage!r} with these "
                "parameters. Run 02_train_source with the same parameters first."
            )
        return load_classifier(model_file(self.run, stage))[0].to(self.precision.device)

    # --- transfer -------------------------------------------------------------------------------

    def transfer(self, trip: Trip, controls: Controls | None = None) -> Iterator[Step]:
        """Adapt, keep and score a target model; nothing to do where it is done.

        The source_only row is made too, so that it stands beside every result.
        """
        if trip.method != "source_only":
            reference = self.trip("source_only", trip.target, trip.protocol, trip.seed)
            for _ in self.transfer(reference):
                pass
        stage, fingerprint = trip.stage, self._fingerprint(trip)
        if self._is_made(trip, fingerprint):
            print(f"{stage}: done")
            return
        source_model = self.source_model(trip.seed)
        views = self.views(trip.target, trip.protocol)
        crop, encoding = self.parameters.crop_pixels, self.parameters.encoding
        method = build_method(
            trip.method,
            trip.options,
            views.target_labels,
            crop=crop,
            seed=trip.seed,
            precision=self.precision,
            encoding=encoding,
        )
        state = state_file(self.run, stage, fingerprint)
        evaluate = scorer(views.evaluation, crop, self.precision, encoding)
        steps = method.fit(
            source_model,
            views.target,
            views.pairs,
            evaluate=evaluate,
            controls=controls,
            state=state,
        )
        yield from self._train(method, steps, evaluate, trip, stage, state)

    def target_model(self, trip: Trip) -> Classifier | None:
        """The target model of a transfer, or None where it has not been made."""
        if trip.method == "source_only":
            return self.source_model(trip.seed)
        if not has_model(self.run, trip.stage, self._fingerprint(trip)):
            return None
        return load_classifier(model_file(self.run, trip.stage))[0].to(self.precision.device)

    def _is_made(self, trip: Trip, fingerprint: str) -> bool:
        if trip.method == "source_only":
            return self.run.is_done(trip.stage, fingerprint)
        return is_kept(self.run, trip.stage, fingerprint)

    def score(self, model: Classifier, trip: Trip) -> Score:
        """How a model does on the images that the trip's protocol scores."""
        views = self.views(trip.target, trip.protocol)
        crop, encoding = self.parameters.crop_pixels, self.parameters.encoding
        return scorer(views.evaluation, crop, self.precision, encoding)(model)

    def references(self, trip: Trip) -> dict[str, float]:
        """Accuracies to draw as level lines: source_only and oracle_labels, where known."""
        return {
            row.method: row.accuracy
            for row in self.run.read().results
            if row.method in ("source_only", "oracle_labels")
            and (row.target, row.protocol, row.seed) == (trip.target, trip.protocol, trip.seed)
        }

    # --- what decides a result ------------------------------------------------------------------

    def _source_fingerprint(self, seed: int) -> str:
        rules = self.manifest.protocol(self.parameters.protocol)
        return digest(
            self.store.folder.name,
            self.manifest.domain(self.parameters.source).model_dump(mode="json"),
            self.parameters.crop_pixels,
            self.parameters.source,
            rules.source_splits,
            rules.task_relevant,
            self.source_options.model_dump(mode="json"),
            seed,
        )

    def _fingerprint(self, trip: Trip) -> str:
        options = check_options(trip.method, trip.options).model_dump(mode="json")
        rules = self.manifest.protocol(trip.protocol).model_dump(mode="json")
        # The very weights: a source model that was stopped and then finished is another one.
        weights = source_weights(self.run, self.source_stage(trip.seed))
        source = (self._source_fingerprint(trip.seed), weights)
        domain = self.manifest.domain(trip.target).model_dump(mode="json")
        where = (trip.method, trip.target, domain, self.parameters.encoding)
        return digest(source, *where, rules, options, trip.seed)
