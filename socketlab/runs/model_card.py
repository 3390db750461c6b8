"""The card of an exported model for people: what it is, how well it does, what it is not for."""

from __future__ import annotations

import functools
import inspect
import sys
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment

from socketlab.data import Manifest
from socketlab.gap.scores import SCORES
from socketlab.methods import REGISTRY, check_options, method_class
from socketlab.models.checkpoint import Card, CheckpointError, load_card
from socketlab.models.deployment import Deployment
from socketlab.runs.keeping import model_file
from socketlab.runs.model_card_scores import (
    OVER_SEEDS,
    Recall,
    largest_class,
    row_of,
    sampling_error,
    score_lines,
)
from socketlab.runs.record import Record, Run
from socketlab.runs.report_values import marked, measured, percent, plain
from socketlab.runs.run_answers import told_answers
from socketlab.runs.templates import environment

CARD_FILE: Final = "MODEL_CARD.md"
TEMPLATE: Final = "model_card.md.jinja"


def render_card(run: Run, manifest: Manifest, card: Card, about: Deployment) -> str:
    """The model card as Markdown; everything in it is read from the run and the manifest.

    Args:
        run: that made the model.
        manifest: of the data set.
        card: of the model that was exported.
        about: what its deploy.json says.
    """
    record = run.read()
    configuration = card.configuration
    protocol = str(configuration["protocol"])
    rules = manifest.protocol(protocol)
    row, kept = row_of(record, about.stage, about.chosen_by), about.check.run_answers
    lines = score_lines(record, row) if row else []
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            about=about,
            card=card,
            manifest=manifest,
            method=_method(card),
            differing=_differing(card),
            options=configuration.get("options", {}),
            inferred=configuration.get("inferred", ""),
            protocol=protocol,
            rules=rules,
            adapted=_count(manifest, about.domain_name, rules.task_relevant, rules.adapt_splits),
            scored=_count(manifest, about.domain_name, rules.task_relevant, rules.score_splits),
            baseline=largest_class(manifest, rules, about.domain_name),
            sources=_sources(run, record, card),
            record=record,
            row=row,
            name=marked(row.method, row.steered) if row else card.method,
            changes=record.changes.get(about.stage, []),
            lines=lines,
            one_seed=not any(line.name.endswith(OVER_SEEDS) for line in lines),
            error=sampling_error(row),
            recalls=Recall.of(run, about),
            signs=SCORES,
            answers_told=told_answers(kept) if kept else "",
        )
    )


@functools.cache
def _environment() -> Environment:
    """The template's surroundings: an unknown name is an error, and nothing is escaped."""
    filters = {
        "percent": percent,
        "measured": measured,
        "plain": plain,
        "unplaced": _unplaced,
    }
    return environment(filters, keep_trailing_newline=True)


def _unplaced(value: Any) -> str:
    """A value as one writes it, and of a file's path the name alone: the card is handed on."""
    return Path(value).name if isinstance(value, str) else plain(value)


def _count(
    manifest: Manifest, domain: str, classes: tuple[str, ...], splits: tuple[str, ...]
) -> int:
    """How many images of a domain these classes and splits hold, as the manifest says."""
    expected = manifest.expected.get(domain, {})
    return sum(expected.get(name, {}).get(split, 0) for name in classes for split in splits)


def _method(card: Card) -> dict[str, Any]:
    """What the method is, in its own words; the training of a source model is none."""
    if card.method not in REGISTRY:
        return {"about": "", "equation": "", "upper_reference": False, "is_transfer": False}
    found = method_class(card.method)
    about = inspect.getdoc(sys.modules[found.__module__]) or card.method
    return {
        "about": about.splitlines()[0],
        "equation": (inspect.getdoc(found) or "").splitlines()[0],
        "upper_reference": found.upper_reference,
        "is_transfer": True,
    }


def _differing(card: Card) -> dict[str, Any]:
    """The options that are not the method's defaults."""
    options: dict[str, Any] = card.configuration.get("options", {})
    if card.method not in REGISTRY:
        return {}
    defaults = check_options(card.method, {}).model_dump(mode="json")
    return {name: value for name, value in options.items() if defaults.get(name) != value}


def _sources(run: Run, record: Record, card: Card) -> list[dict[str, Any]]:
    """Each source model: whose images, its options where they are kept, its score there."""
    found = []
    for source in card.configuration["sources"]:
        stage = f"source-{source.replace('/', '.')}-seed{card.configuration['seed']}"
        try:
            kept: dict[str, Any] = load_card(model_file(run, stage)).configuration
        except CheckpointError:
            kept = {}
        row = row_of(record, stage, "last")
        found.append({"domain": source, "options": kept.get("options", {}), "row": row})
    return found
