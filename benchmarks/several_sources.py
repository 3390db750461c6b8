"""SOCKET from several source models: what a second one brings, and what a useless one costs.

`make bench-sources` runs it after (or before) `make bench-quality`, whose source models it shares.
Three seeds on the built-in data; rows and a table go to docs/results/several_sources.*.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from quality import HERE, RESULTS, markdown

from socketlab.data.whole_files import replace_file
from socketlab.methods import build_method
from socketlab.methods.source import Source
from socketlab.models.classifier import Classifier
from socketlab.runs.comparison import spread
from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import validate
from socketlab.runs.planning import read_parameter_file
from socketlab.training.batches import generator
from socketlab.training.inference import scorer

TARGETS = ("a/depth",)
SEEDS = (0, 1, 2)
CASES = ("a", "a + shuffled", "a + b")


def main() -> None:
    """Every case of every seed and target that has no row yet; the table is written each time."""
    file = RESULTS / "several_sources.parquet"
    rows = pd.read_parquet(file).to_dict("records") if file.exists() else []
    for seed in SEEDS:
        experiment = begin(seed)
        models: dict[str, Classifier] = {}
        for target in TARGETS:
            for case in CASES:
                if any((r["seed"], r["target"], r["case"]) == (seed, target, case) for r in rows):
                    continue
                models = models or source_models(experiment, seed)
                row = run(experiment, [models[name] for name in case.split(" + ")], target, seed)
                rows.append({"case": case, "target": target, "seed": seed} | row)
                print(rows[-1], flush=True)
                frame = pd.DataFrame(rows)
                replace_file(file, frame.to_parquet(index=False))
                replace_file(RESULTS / "several_sources.md", page(frame).encode())


def begin(seed: int) -> Experiment:
    """The quality table's experiment on scenes, from both sensors' RGB."""
    file = HERE / "notebooks" / "params" / "quality_scenes.yaml"
    shared = {k: v for k, v in read_parameter_file(Path(file)).items() if k != "steps"}
    given = {"method": "socket", "sources": ["a/rgb", "b/rgb"], "seed": seed}
    shared["options"] = {"socket": shared["options"]["socket"]}
    return Experiment(validate("05_transfer", shared | given))


def source_models(experiment: Experiment, seed: int) -> dict[str, Classifier]:
    """Those of sensors a and b, and one of sensor a that was shown shuffled labels."""
    for source in experiment.parameters.source_domains:
        for _ in experiment.train_source(seed, source=source):
            pass
    first, second = experiment.source_models(seed)
    images = experiment.views().source
    order = torch.randperm(len(images.labels), generator=generator(seed, "shuffled labels"))
    shuffled = replace(images, labels=images.labels[order])
    about = {"crop": experiment.parameters.crop_pixels, "precision": experiment.precision}
    options = experiment.source_options[experiment.parameters.source_domains[0]]
    trainer = Source(options, seed=seed, **about)
    for _ in trainer.fit(shuffled):
        pass
    return {"a": first, "b": second, "shuffled": trainer.model}


def run(
    experiment: Experiment, sources: Sequence[Classifier], target: str, seed: int
) -> dict[str, object]:
    """One transfer: accuracies before and after, and the mixing weights at the end."""
    views = experiment.views(target)
    options = experiment.trip("socket").options
    about = {"crop": experiment.parameters.crop_pixels, "precision": experiment.precision}
    method = build_method("socket", options, views, seed=seed, **about)
    evaluate = scorer(views.evaluation, about["crop"], experiment.precision)
    steps = list(method.fit(sources, views.target, views.pairs, evaluate=evaluate))
    before, after = steps[0].evaluation, steps[-1].evaluation
    assert before is not None and after is not None
    return {
        "before": before.balanced_accuracy,
        "after": after.balanced_accuracy,
        "mixing": list(steps[-1].look.mixing) or [1.0],
        "seconds": steps[-1].seconds,
    }


def page(rows: pd.DataFrame) -> str:
    """The table, mean and deviation over seeds."""
    lines = []
    for (target, case), group in rows.groupby(["target", "case"], sort=False):
        weights = pd.DataFrame(group["mixing"].tolist()).mean().round(3).tolist()
        lines.append(
            {
                "target": target,
                "source models": case,
                "seeds": len(group),
                "source_only": spread(group["before"] * 100),
                "socket": spread(group["after"] * 100),
                "mixing weights": ", ".join(f"{weight:.2f}" for weight in weights),
                "seconds": round(group["seconds"].mean()),
            }
        )
    return "\n".join(
        [
            "# Several source models",
            "",
            "Balanced accuracy in percent on the built-in data, mean ± standard deviation over "
            "seeds, of the last epoch. `a` and `b` are source models of the RGB images of sensors "
            "a and b, `shuffled` one of sensor a's images with shuffled labels, which knows "
            "nothing. Mixing weights are those at the end, in the order of the sources; they start "
            "even. source_only of several sources mixes them evenly.",
            "",
            markdown(pd.DataFrame(lines)),
            "",
            "Made by `benchmarks/several_sources.py` with the parameters of "
            "`notebooks/params/quality_scenes.yaml`.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
