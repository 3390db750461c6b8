"""One experiment as a notebook sees it: data, source model, transfers, all kept in a run."""

import time
from collections.abc import Iterator, Sequence

from socketlab.data.views import Evaluation
from socketlab.gap.selection import label_free_scorer
from socketlab.methods import build_method
from socketlab.methods.base import Transfer
from socketlab.methods.source import Source
from socketlab.methods.tgmb import Tgmb
from socketlab.models.checkpoint import CheckpointError, load_card, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier, joined
from socketlab.models.translator import Translator
from socketlab.runs.checks import check_methods, source_options
from socketlab.runs.data_session import DataSession
from socketlab.runs.keeping import (
    Keeper,
    has_model,
    is_kept,
    model_file,
    stage_weights,
    state_file,
)
from socketlab.runs.previews import Previews
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.stages import Trip, source_fingerprint, transfer_fingerprint
from socketlab.runs.translators import (
    SUFFIX,
    Input,
    load_translator,
    translator_file,
    translator_name,
)
from socketlab.training.inference import Score, scorer
from socketlab.training.memory import peak_memory
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls, Step


class Experiment(DataSession):
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
        super().__init__(parameters)

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

        The source_only row is made too, so that it stands beside every result, and the translator
        that the method sees through.
        """
        before = self.trainings(trip)[:-1]
        if trip.method != "source_only":
            before.append(self.trip("source_only", trip.target, trip.protocol, trip.seed))
        for earlier in before:
            for _ in self.transfer(earlier):
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
            translator=self._translator(trip, sources),
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
        if isinstance(method, Tgmb):
            steps = self.previews(trip).recorded(steps, method)
        yield from self._train(method, steps, views.evaluation, trip, stage, state)

    def previews(self, trip: Trip) -> Previews:
        """What a translator has painted while it trained."""
        return Previews(self.run, trip.stage)

    def trainings(self, trip: Trip) -> list[Trip]:
        """The transfer, and before it the training of its translator where that is not there yet.

        One that was stopped by hand is there: what was learnt is kept.
        """
        translator = self._translator_trip(trip)
        if translator is None or has_model(
            self.run, translator.stage, self._fingerprint(translator)
        ):
            return [trip]
        return [translator, trip]

    def _translator_trip(self, trip: Trip) -> Trip | None:
        name = translator_name(self.parameters, trip.name)
        if name is None or name.endswith(SUFFIX):
            return None
        return self.trip(name, trip.target, trip.protocol, trip.seed)

    def _translator(self, trip: Trip, sources: Sequence[Classifier]) -> Translator | None:
        name = translator_name(self.parameters, trip.name)
        if name is None:
            return None
        if name.endswith(SUFFIX):
            given = self.parameters
            shown = Input(trip.target, given.size, given.crop_pixels, given.encoding)
            return load_translator(translator_file(name), shown, sources[0])
        trained = self._translator_trip(trip)
        made = self.target_model(trained) if trained is not None else None
        return made.members[0].translator if made is not None else None

    def _translator_weights(self, trip: Trip) -> str:
        """What decided the translator, and its weights' sha256; nothing where none is needed."""
        name = translator_name(self.parameters, trip.name)
        if name is not None and name.endswith(SUFFIX):
            return load_card(translator_file(name)).sha256
        trained = self._translator_trip(trip)
        if trained is None:
            return ""
        return f"{self._fingerprint(trained)} {stage_weights(self.run, trained.stage)}"

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
                stage_weights(self.run, self.source_stage(trip.seed, source)),
            )
            for source in trip.sources
        ]
        return transfer_fingerprint(self.parameters, trip, sources, self._translator_weights(trip))
