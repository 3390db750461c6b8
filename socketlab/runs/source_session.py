"""A session that trains and keeps source models, and whatever else is a stage of its run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from socketlab.data.views import Evaluation
from socketlab.methods.base import Transfer
from socketlab.methods.source import Source
from socketlab.models.checkpoint import CheckpointError, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.kept_model import own_classifier
from socketlab.models.mixture import AnyClassifier, joined
from socketlab.models.own_model_checks import reach_of
from socketlab.runs.checks import check_methods, check_own_model, source_options
from socketlab.runs.data_session import DataSession
from socketlab.runs.entries import Part
from socketlab.runs.keeping import (
    Keeper,
    has_model,
    is_kept,
    model_file,
    stage_weights,
    state_file,
)
from socketlab.runs.own_source import OwnSource
from socketlab.runs.places import at_home
from socketlab.runs.record import Run
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.shared_stages import SharedStages
from socketlab.runs.stages import Trip, own_source_fingerprint, source_fingerprint
from socketlab.runs.steering import check_changes
from socketlab.training.inference import scorer
from socketlab.training.memory import peak_memory
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls, Step


class SourceSession(DataSession):
    """Everything that takes long is a stage of the run.

    A finished one is not done again, an interrupted one continues after its last whole epoch, or
    after SIGTERM its last step, and one whose parameters have changed is done anew and replaces
    what was there.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.source_options = {
            source: source_options(parameters, source) for source in parameters.source_domains
        }
        check_methods(parameters)
        check_changes(parameters)
        self._own, self._own_content = parameters.own_model, ""
        if self._own is not None:
            classes = parameters.manifest.protocol(parameters.protocol).task_relevant
            crop = parameters.crop_pixels
            self._own_classifier = own_classifier(self._own, classes, crop=crop)
            check_own_model(parameters, self._own_classifier)
            self._own_content = self._own.fingerprint()
        super().__init__(parameters)
        self._seen: set[tuple[str, str]] = set()
        self.shared: SharedStages | None = None
        if parameters.shared is not None and self._own is None:
            self.shared = SharedStages(at_home(parameters.shared), self.precision)
        if self._own is not None:
            model = self._own_classifier
            print(f"own source model {model.backbone}: {model.width} features; {reach_of(model)}")
            for note in self._own.notes(model.classes, parameters.size, parameters.crop_pixels):
                print(note)

    def source_stage(self, seed: int | None = None, source: str | None = None) -> str:
        """The name of a source model's stage and files."""
        domain = (source or self.parameters.source_domains[0]).replace("/", ".")
        return f"source-{domain}-seed{self.parameters.seed if seed is None else seed}"

    def train_source(
        self,
        seed: int | None = None,
        controls: Controls | None = None,
        source: str | None = None,
    ) -> Iterator[Step]:
        """Train, keep and score a source model; nothing to do where it is done.

        An own model is not trained: it is scored as it is, and kept.
        """
        seed = self.parameters.seed if seed is None else seed
        source = source or self.parameters.source_domains[0]
        stage = self.source_stage(seed, source)
        fingerprint = self.source_fingerprint(seed, source)
        with self.making(stage, fingerprint, is_kept) as made:
            if not made:
                yield from self._make_source(seed, controls, source)

    def _make_source(self, seed: int, controls: Controls | None, source: str) -> Iterator[Step]:
        stage = self.source_stage(seed, source)
        fingerprint = self.source_fingerprint(seed, source)
        views, crop = self.views(source=source), self.parameters.crop_pixels
        state, about = state_file(self.run, stage, fingerprint), (crop, self.precision)
        trainer: Source
        if self._own is not None:
            trainer = OwnSource(
                self._own_classifier, self._own, crop=crop, seed=seed, precision=self.precision
            )
            steps = trainer.looked_at(scorer(views.source_evaluation, *about))
        else:
            trainer = Source(
                self.source_options[source], crop=crop, seed=seed, precision=self.precision
            )
            trainer.expect(views.source, state=state)
            steps = trainer.fit(views.source, controls=controls, state=state)
        row = Trip("source", "source", (source,), source, self.parameters.protocol, seed, {})
        yield from self.train(trainer, steps, views.source_evaluation, row, stage, state)

    @contextmanager
    def making(
        self,
        stage: str,
        fingerprint: str,
        is_made: Callable[[Run, str, str], bool],
        shared: bool = True,
    ) -> Iterator[bool]:
        """Hold the right to make a stage; gives whether there is nothing left to do.

        While another process makes it this waits, and then finds it made. One that is `shared` is
        taken from another run of the sweep where that has made it.
        """
        if is_made(self.run, stage, fingerprint):
            print(f"{stage}: done")
            yield True
            return
        with self.run.working(stage, print):
            if is_made(self.run, stage, fingerprint):
                print(f"{stage}: done")
                yield True
            elif self.shared is None or not shared:
                yield False
            else:
                with self.shared.making(self.run, stage, fingerprint) as taken:
                    if taken:
                        print(f"{stage}: taken from {self.run.read().stages[stage].taken_from}")
                    yield taken

    def train(
        self,
        task: Source | Transfer,
        steps: Iterator[Step],
        evaluation: Evaluation,
        trip: Trip,
        stage: str,
        state: StateFile,
    ) -> Iterator[Step]:
        """A training as a stage of the run: timed, recorded, scored and kept."""
        given = self.parameters
        encoding = given.encoding if isinstance(task, Transfer) else "replicate"
        evaluate = scorer(evaluation, given.crop_pixels, self.precision, encoding)
        keeper = Keeper(self.run, task, trip, given, stage, state.fingerprint)
        with self.run.stage(stage, state.fingerprint) as part:
            earlier, began = part.seconds, time.monotonic()
            if task.expected is not None:
                part.memory = str(task.expected)
                print(part.memory)
            with peak_memory(self.precision.device) as peak:
                yield from self._noted(task, keeper.recorded(steps, part), part)
            score = evaluate(task.model)
            seconds = earlier + time.monotonic() - began
            if task.expected is not None:
                print(f"memory: {task.expected.beside(peak.mebibytes)}")
            keeper.keep(score, evaluation, seconds, peak.mebibytes)
        if part.status == "done":
            state.remove()

    def _noted(self, task: Source | Transfer, steps: Iterator[Step], part: Part) -> Iterator[Step]:
        """Hand steps on; say where the images are, and how compiling went, when it is known."""
        said = False
        for step in steps:
            if not said:
                for images in task.image_sets():
                    print(images.where)
                said = True
            note = task.compiling.note
            if note != part.compiled:
                part.compiled = note
                print(note)
            yield step

    def source_models(self, seed: int | None = None) -> list[Classifier]:
        """The source models that were trained with these parameters, one a source domain.

        Raises:
            CheckpointError: if there is none yet, saying which notebook makes it.
        """
        seed = self.parameters.seed if seed is None else seed
        found = []
        for source in self.parameters.source_domains:
            stage = self.source_stage(seed, source)
            fingerprint = self.source_fingerprint(seed, source)
            if not self._has_source(stage, fingerprint):
                raise CheckpointError(
                    f"Run {self.parameters.run!r} has no source model {stage!r} with these "
                    "parameters. Run 02_train_source with the same parameters first."
                )
            model = load_classifier(model_file(self.run, stage))[0].to(self.precision.device)
            found.extend(model.members)
        return found

    def source_weights(self, trip: Trip) -> list[tuple[str, str]]:
        """Fingerprint and weights' sha256 of every source model of a trip, as far as they are."""
        found = []
        for source in trip.sources:
            stage = self.source_stage(trip.seed, source)
            fingerprint = self.source_fingerprint(trip.seed, source)
            self._has_source(stage, fingerprint)
            found.append((fingerprint, stage_weights(self.run, stage)))
        return found

    def _has_source(self, stage: str, fingerprint: str) -> bool:
        """Whether the run has a source model; one that another run of the sweep has it takes."""
        if (stage, fingerprint) not in self._seen and (
            has_model(self.run, stage, fingerprint)
            or (self.shared is not None and self.shared.take(self.run, stage, fingerprint))
        ):
            self._seen.add((stage, fingerprint))
        return (stage, fingerprint) in self._seen

    def source_model(self, seed: int | None = None) -> AnyClassifier:
        """The source model; several are mixed, all with the same weight."""
        return joined(self.source_models(seed)).eval().to(self.precision.device)

    def source_fingerprint(self, seed: int, source: str) -> str:
        """Of all that decides a source model."""
        options, store = self.source_options[source], self.store.folder.name
        if self._own is not None:
            return own_source_fingerprint(self.parameters, store, source, self._own_content)
        return source_fingerprint(self.parameters, store, source, options, seed)
