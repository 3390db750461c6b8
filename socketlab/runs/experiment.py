"""One experiment as a notebook sees it: data, source model, transfers, all kept in a run."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from socketlab.data.views import ImagePairs
from socketlab.gap.features import PairOutputs, pair_outputs
from socketlab.gap.selection import label_free_scorer
from socketlab.methods import build_method
from socketlab.methods.tgmb import Tgmb
from socketlab.models.checkpoint import load_card, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier, joined
from socketlab.models.translator import Translator
from socketlab.runs.film import Film
from socketlab.runs.keeping import has_model, is_kept, model_file, stage_weights, state_file
from socketlab.runs.previews import Previews
from socketlab.runs.record import Run
from socketlab.runs.shared_features import shared_outputs
from socketlab.runs.source_session import SourceSession
from socketlab.runs.stages import Trip, digest, transfer_fingerprint
from socketlab.runs.steering import as_changes, asked_changes
from socketlab.runs.translators import (
    SUFFIX,
    TRAINED_BY,
    Input,
    load_translator,
    translator_file,
    translator_name,
)
from socketlab.training.inference import Score, scorer
from socketlab.training.steps import Controls, Step


class Experiment(SourceSession):
    """Data, models and results of one set of parameters."""

    def transfer(self, trip: Trip, controls: Controls | None = None) -> Iterator[Step]:
        """Adapt, keep and score a target model; nothing to do where it is done.

        The source_only row is made too, so that it stands beside every result, and the translator
        that the method sees through. `changes` that the parameters ask for are made at their steps.
        """
        before = self.trainings(trip)[:-1]
        if trip.method != "source_only":
            before.append(self.trip("source_only", trip.target, trip.protocol, trip.seed))
        for earlier in before:
            for _ in self.transfer(earlier):
                pass
        fingerprint = self._fingerprint(trip)
        changed = asked_changes(self.parameters, trip.name)
        shared = trip.method in ("source_only", TRAINED_BY) and not changed
        with self.making(trip.stage, fingerprint, partial(self._is_made, trip), shared) as made:
            if not made:
                yield from self._make(trip, fingerprint, controls)

    def _make(self, trip: Trip, fingerprint: str, controls: Controls | None) -> Iterator[Step]:
        stage = trip.stage
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
        controls = controls or Controls()
        controls.replay(as_changes(asked_changes(self.parameters, trip.name)))
        if method.epochs > 0:
            method.expect(sources, views.target, views.pairs, state=state)
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
        each = int(getattr(self.parameters, "film", 0))
        if each > 0 and method.epochs > 0:
            sets = {"TI": views.pairs, "TR": views.evaluation_pairs}
            steps = self.film(trip).recorded(steps, method, sets, each)
        yield from self.train(method, steps, views.evaluation, trip, stage, state)

    def previews(self, trip: Trip) -> Previews:
        """What a translator has painted while it trained."""
        return Previews(self.run, trip.stage)

    def film(self, trip: Trip) -> Film:
        """What a sample of pairs looked like to a model while it was adapted."""
        return Film(self.run, trip.stage, self._fingerprint(trip))

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
            path = translator_file(name)
            return load_translator(path, shown, sources[0], data=given.data)
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

    def _is_made(self, trip: Trip, run: Run, stage: str, fingerprint: str) -> bool:
        kept = Run.is_done if trip.method == "source_only" else is_kept
        return kept(run, stage, fingerprint)

    def kept_folder(self, name: str) -> Path:
        """Where what costs time and is found by its content is kept: in the run, or with others."""
        return (self.run.folder if self.shared is None else self.shared.folder) / name

    def pair_outputs(
        self, models: tuple[AnyClassifier, AnyClassifier], pairs: ImagePairs, trip: Trip
    ) -> PairOutputs:
        """What two models say of a trip's pairs; runs that share stages compute it once."""
        about = self.parameters.crop_pixels, self.precision, self.parameters.encoding
        make = partial(pair_outputs, models[0], models[1], pairs, *about)
        if self.shared is None:
            return make()
        stores = [self.store, self.pair_store(trip.protocol)]
        names = [store.folder.name for store in stores if store is not None]
        return shared_outputs(
            self.kept_folder("features"),
            models,
            pairs,
            (names, trip.target, *about),
            make,
        )

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
            and row.accuracy is not None
            and not row.steered
            and (row.source, row.target, row.protocol, row.seed)
            == (trip.source, trip.target, trip.protocol, trip.seed)
        }

    def _fingerprint(self, trip: Trip) -> str:
        sources = self.source_weights(trip)
        given, translator = self.parameters, self._translator_weights(trip)
        found = transfer_fingerprint(given, trip, sources, translator)
        changes = [changed.model_dump() for changed in asked_changes(given, trip.name)]
        return digest(found, changes) if changes else found
