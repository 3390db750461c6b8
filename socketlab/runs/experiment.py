"""One experiment as a notebook sees it: data, source model, transfers, all kept in a run."""

import time
from collections.abc import Iterator
from functools import cached_property

from socketlab.data import Manifest
from socketlab.data.store import Store, prepare
from socketlab.data.views import Evaluation, Views, open_views
from socketlab.gap.selection import label_free_scorer
from socketlab.methods import build_method
from socketlab.methods.base import Transfer
from socketlab.methods.source import Source
from socketlab.models.checkpoint import CheckpointError, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier, joined
from socketlab.runs.checks import check_methods, source_options
from socketlab.runs.keeping import (
    Keeper,
    has_model,
    is_kept,
    model_file,
    source_weights,
    state_file,
)
from socketlab.runs.places import at_home
from socketlab.runs.session import Session
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.stages import Trip, source_fingerprint, transfer_fingerprint
from socketlab.training.inference import Score, scorer
from socketlab.training.memory import peak_memory
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls, Step


class Experiment(Session):
    """Data, models and results of one set of parameters.

    Everything that takes long is a stage of the run: a finished one is not done again, an
    interrupted one continues after its last whole epoch, and one whose parameters have changed is
    done anew and replaces what was there.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.source_options = {
            source: source_options(parameters, source) for source in parameters.source_domains
        }
        check_methods(parameters)
        self._views: tuple[tuple[str, ...], Views] | None = None
        super().__init__(parameters)

    # --- data -----------------------------------------------------------------------------------

    @cached_property
    def manifest(self) -> Manifest:
        """What the data set says of itself."""
        return self.parameters.manifest

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

    def views(
        self, target: str | None = None, protocol: str | None = None, source: str | None = None
    ) -> Views:
        """Who may see what, for a source, a target and a protocol; the last ones are kept."""
        given = self.parameters
        source = source or given.source_domains[0]
        asked = (protocol or given.protocol, target or given.target, source)
        if self._views is None or self._views[0] != asked:
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
        name = method or str(getattr(given, "method", "source_only"))
        return Trip(
            name,
            given.method_of(name),
            given.source_domains,
            target or given.target,
            protocol or given.protocol,
            given.seed if seed is None else seed,
            given.options_of(name),
        )

    # --- the source model -----------------------------------------------------------------------

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
        """Train, keep and score a source model; nothing to do where it is done."""
        seed = self.parameters.seed if seed is None else seed
        source = source or self.parameters.source_domains[0]
        stage = self.source_stage(seed, source)
        fingerprint = self._source_fingerprint(seed, source)
        if is_kept(self.run, stage, fingerprint):
            print(f"{stage}: done")
            return
        views, crop = self.views(source=source), self.parameters.crop_pixels
        trainer = Source(
            self.source_options[source], crop=crop, seed=seed, precision=self.precision
        )
        state = state_file(self.run, stage, fingerprint)
        steps = trainer.fit(views.source, controls=controls, state=state)
        row = Trip("source", "source", (source,), source, self.parameters.protocol, seed, {})
        yield from self._train(trainer, steps, views.source_evaluation, row, stage, state)

    def _train(
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
            with peak_memory(self.precision.device) as peak:
                yield from keeper.recorded(steps, part)
            score = evaluate(task.model)
            seconds = earlier + time.monotonic() - began
            keeper.keep(score, evaluation, seconds, peak.mebibytes)
        if part.status == "done":
            state.remove()

    def source_models(self, seed: int | None = None) -> list[Classifier]:
        """The source models that were trained with these parameters, one a source domain.

        Raises:
            CheckpointError: if there is none yet, saying which notebook makes it.
        """
        seed = self.parameters.seed if seed is None else seed
        found = []
        for source in self.parameters.source_domains:
            stage = self.source_stage(seed, source)
            if not has_model(self.run, stage, self._source_fingerprint(seed, source)):
                raise CheckpointError(
                    f"Run {self.parameters.run!r} has no source model {stage!r} with these "
                    "parameters. Run 02_train_source with the same parameters first."
                )
            model = load_classifier(model_file(self.run, stage))[0].to(self.precision.device)
            found.extend(model.members)
        return found

    def source_model(self, seed: int | None = None) -> AnyClassifier:
        """The source model; several are mixed, all with the same weight."""
        return joined(self.source_models(seed)).eval().to(self.precision.device)

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
        sources, views = self.source_models(trip.seed), self.views(trip.target, trip.protocol)
        crop, encoding = self.parameters.crop_pixels, self.parameters.encoding
        about = (crop, self.precision, encoding)
        method = build_method(
            trip.method,
            trip.options,
            views,
            crop=crop,
            seed=trip.seed,
            precision=self.precision,
            encoding=encoding,
        )
        state = state_file(self.run, stage, fingerprint)
        steps = method.fit(
            sources,
            views.target,
            views.pairs,
            evaluate=scorer(views.evaluation, *about),
            assess=label_free_scorer(joined(sources), views.pairs, *about),
            controls=controls,
            state=state,
        )
        yield from self._train(method, steps, views.evaluation, trip, stage, state)

    def target_model(self, trip: Trip) -> AnyClassifier | None:
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

    def score(self, model: AnyClassifier, trip: Trip) -> Score:
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
            and row.chosen_by == "last"
            and (row.source, row.target, row.protocol, row.seed)
            == (trip.source, trip.target, trip.protocol, trip.seed)
        }

    # --- what decides a result ------------------------------------------------------------------

    def _source_fingerprint(self, seed: int, source: str) -> str:
        options, store = self.source_options[source], self.store.folder.name
        return source_fingerprint(self.parameters, store, source, options, seed)

    def _fingerprint(self, trip: Trip) -> str:
        sources = [
            (
                self._source_fingerprint(trip.seed, source),
                source_weights(self.run, self.source_stage(trip.seed, source)),
            )
            for source in trip.sources
        ]
        return transfer_fingerprint(self.parameters, trip, sources)
