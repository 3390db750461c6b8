"""Stages of a run: what one is called, what its numbers are called, and when it is the same."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from socketlab.data.encoding_names import HHA_VERSION
from socketlab.methods import check_options
from socketlab.methods.source import SourceOptions
from socketlab.runs.shared_parameters import Parameters
from socketlab.training.steps import Step


@dataclass(frozen=True)
class Trip:
    """One transfer: which method takes the source model, or several, where.

    `name` is what it is called: the method's own name, or a variant's with other options.
    """

    name: str
    method: str
    sources: tuple[str, ...]
    target: str
    protocol: str
    seed: int
    options: dict[str, Any]

    @property
    def source(self) -> str:
        """The source domains in words: `a/rgb + b/rgb`."""
        return " + ".join(self.sources)

    @property
    def stage(self) -> str:
        """The name of its stage and files."""
        target = self.target.replace("/", ".")
        several = "+".join(self.sources).replace("/", ".") if len(self.sources) > 1 else ""
        came = f"-from-{several}" if several else ""
        return f"{self.name}{came}-to-{target}-{self.protocol}-seed{self.seed}"


def step_values(step: Step) -> dict[str, float]:
    """The numbers of a step by the names that `metrics.parquet` and the curves use."""
    values = {f"loss/{name}": float(value) for name, value in step.terms.items()}
    values |= {f"score/{name}": value for name, value in step.look.scores.items()}
    values |= {f"measure/{name}": value for name, value in step.look.measures.items()}
    values |= {f"mixing/{k}": weight for k, weight in enumerate(step.look.mixing)}
    if step.look.predicted:
        values |= {f"predicted/{k}": count for k, count in enumerate(step.look.predicted)}
        values["predicted_entropy"] = step.look.predicted_entropy
    values |= {f"learning_rate/{name}": rate for name, rate in step.learning_rates.items()}
    if step.evaluation is not None:
        values |= step.evaluation.accuracies
    return values


def source_fingerprint(
    parameters: Parameters, store: str, source: str, options: SourceOptions, seed: int
) -> str:
    """Of all that decides a source model; `store` is the name of the prepared images' folder."""
    rules = parameters.manifest.protocol(parameters.protocol)
    return digest(
        store,
        parameters.manifest.domain(source).model_dump(mode="json", exclude={"intrinsics"}),
        parameters.crop_pixels,
        source,
        rules.source_splits,
        rules.task_relevant,
        options.model_dump(mode="json"),
        seed,
    )


def own_source_fingerprint(parameters: Parameters, store: str, source: str, content: str) -> str:
    """Of all that decides an own source model and its score; `content` is of its file."""
    rules = parameters.manifest.protocol(parameters.protocol)
    about = (parameters.crop_pixels, source, rules.score_splits, rules.task_relevant)
    return digest("own source model", store, *about, content)


def transfer_fingerprint(
    parameters: Parameters, trip: Trip, sources: Sequence[tuple[str, str]], translator: str = ""
) -> str:
    """Of all that decides a transfer; `translator` says what decided that, and its very weights.

    `sources` has the fingerprint of each source model and the sha256 of its very weights: one that
    was stopped and then finished is another one.
    """
    options = check_options(trip.method, trip.options).model_dump(mode="json")
    rules = parameters.manifest.protocol(trip.protocol).model_dump(mode="json")
    by_camera = parameters.encoding == "hha"  # for all others the camera decides nothing
    domain = parameters.manifest.domain(trip.target).model_dump(
        mode="json", exclude=set() if by_camera else {"intrinsics"}
    )
    encoding = f"hha {HHA_VERSION}" if by_camera else parameters.encoding
    chosen_by = getattr(parameters, "choose_by", "last")
    where = (trip.method, trip.target, domain, encoding, chosen_by)
    pairs = parameters.pair_manifest(trip.protocol)
    others = [part for part in (translator, pairs.digest() if pairs is not None else "") if part]
    return digest(sources, *where, rules, options, trip.seed, *others)


def digest(*parts: Any) -> str:
    """Twelve hexadecimal digits that depend on all parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]
