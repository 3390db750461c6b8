"""From a run to the tables and figures about translators: size, picture quality, calibration."""

import pandas as pd

from socketlab.gap.calibration import Reliability, reliability
from socketlab.methods import check_options
from socketlab.methods.tgmb import split_pairs, translation_quality
from socketlab.methods.translator_options import TgmbOptions
from socketlab.models.complexity import complexity
from socketlab.models.names import TRANSLATORS
from socketlab.models.translator import build_translator
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import load_answers
from socketlab.runs.record import Run
from socketlab.runs.stages import Trip

CONTROLS = ("replicate", "colormap")
"""Translators with nothing to train, which every trained one is held against."""


def network_frame(crop: int) -> pd.DataFrame:
    """Every registered translator: its parameters, and multiply-adds for one image."""
    lines = []
    for name in TRANSLATORS:
        found = complexity(build_translator(name), (1, crop, crop))
        lines.append(
            {
                "translator": name,
                "parameters": f"{found.parameters:,}",
                "multiply-adds": f"{found.multiply_adds / 1e6:,.1f} million",
            }
        )
    return pd.DataFrame(lines).set_index("translator")


def picture_frame(experiment: Experiment, trip: Trip) -> pd.DataFrame:
    """PSNR (dB) and SSIM on the TI pairs that were kept out: the trained one and the controls.

    Raises:
        ValueError: if the translator has not been trained, or there are no TI pairs.
    """
    model = experiment.target_model(trip)
    pairs = experiment.views(trip.target, trip.protocol).pairs
    if model is None or pairs is None:
        raise ValueError(f"{trip.stage} has not been trained in this run, or has no TI pairs.")
    options = check_options(trip.method, trip.options)
    assert isinstance(options, TgmbOptions)
    held_out, _ = split_pairs(len(pairs), options.validation, trip.seed)
    given, device = experiment.parameters, experiment.precision.device
    about = (pairs.to(device), held_out, given.crop_pixels, given.encoding)
    trained = model.members[0].translator
    translators = {trip.name: trained} | {name: build_translator(name) for name in CONTROLS}
    lines = []
    for name, translator in translators.items():
        quality = translation_quality(translator.to(device), *about)
        network = trained.name if translator is trained else name
        lines.append(
            {
                "translator": name,
                "network": network,
                "PSNR (dB)": quality.psnr,
                "SSIM": quality.ssim,
            }
        )
    return pd.DataFrame(lines).set_index("translator").round(3)


def checkpoint_frame(run: Run, stages: dict[str, str]) -> pd.DataFrame:
    """PSNR and accuracy at every epoch of translators, by the name each stage is to have."""
    metrics = run.metrics()
    found = []
    for stage, name in stages.items():
        mine = metrics[metrics["stage"] == stage]
        wide = mine.pivot(index="epoch", columns="name", values="value")
        if {"measure/psnr", "accuracy"} <= set(wide.columns):
            wide = wide[["measure/psnr", "accuracy"]].dropna().reset_index()
            wide.columns = pd.Index(["epoch", "psnr", "accuracy"])
            found.append(wide.assign(method=name))
    columns = ["method", "epoch", "psnr", "accuracy"]
    return pd.concat(found)[columns] if found else pd.DataFrame({c: [] for c in columns})


def calibration(run: Run, stages: dict[str, str], bins: int = 10) -> dict[str, Reliability]:
    """How far the confidence of each stage's answers on the scored images can be believed.

    Stages without a scored image that has a label are left out.
    """
    found = {}
    for stage, name in stages.items():
        answers = load_answers(run, stage)
        if answers.empty:
            continue
        right = (answers["answer"] == answers["truth"]).to_numpy()
        found[name] = reliability(answers["confidence"].to_numpy(), right, bins)
    return found
