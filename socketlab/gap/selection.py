"""Choosing a model without target labels: scores of its answers, and the epoch a score picks.

Scores are measured, never trained on: they carry no gradient. They are computed on the device of
their input, in float32 (float64 where the input is), also under autocast. NaN in gives NaN out or
the worst value, never an error, so that measuring cannot end a training.
"""

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs
from socketlab.gap.pairs import cosine_chunks
from socketlab.gap.scores import CHOICES, SCORES, check_choice
from socketlab.models.mixture import AnyClassifier
from socketlab.objectives import information_maximisation, mean_entropy
from socketlab.training.batches import generator
from socketlab.training.inference import Assessor, Outputs, predict
from socketlab.training.precision import Precision

TIE = 1e-6  # two cosines closer than this are a tie: above the rounding of float32 features


def soft_neighbourhood_density(outputs: Tensor, temperature: float = 0.05) -> Tensor:
    """SND: how many near neighbours a sample has; higher is better.

    z_i = o_i / ||o_i||,  P_ij = exp(z_i.z_j / t) / sum_{l != i} exp(z_i.z_l / t)  for j != i
    SND = -1/N sum_i sum_{j != i} P_ij log P_ij

    Samples of one class should lie in one dense cluster: then each has many neighbours that are
    equally near. A collapse onto one class is the densest of all and gets the highest value.

    Args:
        outputs: [N, D], N >= 2; softmax outputs in the paper, features work too.
        temperature: t, positive.

    Returns:
        Scalar in nats, from 0 to log(N - 1). N x N similarities are never held at once.

    Raises:
        ValueError: when `outputs` is no such matrix or `temperature` is not positive.

    Source: Saito et al., ICCV 2021 (arXiv 2108.10860).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    rows = normalize(_matrix("outputs", outputs, least=2), dim=1)
    everyone = torch.arange(len(rows), device=rows.device)[:, None]
    total = rows.new_zeros(())
    with torch.autocast(rows.device.type, enabled=False):
        for start, cosine in cosine_chunks(rows, rows):
            itself = everyone[start : start + len(cosine)]
            level = cosine.div_(temperature).scatter_(1, itself, -torch.inf)
            level = level.sub_(level.amax(dim=1, keepdim=True))
            share = level.exp()
            # With e = exp(level) and Z = sum e, -sum P log P = log Z - sum e level / Z.
            mean = level.scatter_(1, itself, 0).mul_(share).sum(dim=1)
            whole = share.sum(dim=1)
            total += (whole.log() - mean / whole).sum()
    return total / len(rows)


def nuclear_norm(probabilities: Tensor) -> Tensor:
    """Sum of the singular values of all predictions, over the largest possible; higher is better.

    ||P||_* / sqrt(N min(N, K)),  P = probabilities [N, K]

    The bound follows from ||P||_* <= sqrt(rank) ||P||_F and ||P||_F <= sqrt(N).

    Args:
        probabilities: [N, K], rows sum to one.

    Returns:
        Scalar in (0, 1]. For N >= K: 1 for certain predictions, spread evenly over all classes;
        1/sqrt(K) for certain predictions of one class; 1/K, the lowest, for uniform ones. NaN
        where a probability is not finite.

    Raises:
        ValueError: when `probabilities` is not a matrix.

    Source: Cui et al., BNM, CVPR 2020 (arXiv 2003.12237); the normalisation is ours.
    """
    rows = _matrix("probabilities", probabilities)
    if not rows.isfinite().all():  # the decomposition would raise
        return rows.new_full((), torch.nan)
    singular_values: Tensor = torch.linalg.svdvals(rows)
    return singular_values.sum() / math.sqrt(len(rows) * min(rows.shape))


def pair_retrieval(rgb_features: Tensor, other_features: Tensor) -> Tensor:
    """R@1: share of TI images whose own RGB partner is the nearest of all; higher is better.

    mean_i [ cos(y_i, x_i) > cos(y_i, x_j) for all j != i ]

    Ties count against, so that collapsed features earn nothing; `gap.neighbours.retrieval`
    measures the same with more checks, and refuses collapsed features.

    Args:
        rgb_features: x [n, d], of the RGB halves, by the source model.
        other_features: y [n, d], of their partners, by the model to be scored.

    Returns:
        Scalar in [0, 1]; guessing gives 1/n.

    Raises:
        ValueError: when the two are not matrices of one shape.
    """
    gallery, queries = _unit_halves(rgb_features, other_features)
    found = torch.zeros((), dtype=torch.int64, device=queries.device)
    with torch.autocast(queries.device.type, enabled=False):
        for start, cosine in cosine_chunks(queries, gallery):
            partner = cosine.diagonal(start)[:, None]
            found += ((cosine > partner - TIE).sum(dim=1) == 1).sum()
    return found / len(queries)


def pair_distance(rgb_features: Tensor, other_features: Tensor) -> Tensor:
    """Mean squared distance of partners after L2-normalisation; lower is better.

    mean_i || x_i/||x_i|| - y_i/||y_i|| ||^2

    Arguments and errors as in `pair_retrieval`; a scalar in [0, 4], 0 where partners coincide. A
    collapse of both halves onto one point gives 0 as well.
    """
    rgb, other = _unit_halves(rgb_features, other_features)
    return (rgb - other).square().sum(dim=1).mean()


def label_free_scorer(
    source_model: AnyClassifier,
    pairs: ImagePairs | None,
    crop: int,
    precision: Precision,
    encoding: Encoding = "replicate",
    most_pairs: int = 256,
    seed: int = 0,
) -> Assessor:
    """The loop's `assess` hook: all `SCORES` of a model, those of pairs where there are any.

    The RGB features are computed here, once. The hook draws no random number and leaves the model
    as it found it.

    Args:
        source_model: F_s, for the RGB halves; it is not changed.
        pairs: TI pairs.
        most_pairs: more pairs than these are thinned to a random subset, fixed by `seed`.

    Raises:
        ValueError: if `most_pairs` is below 1.
    """
    if most_pairs < 1:
        raise ValueError(f"most_pairs must be at least 1, found {most_pairs}")
    rgb_features = None
    if pairs is not None and len(pairs) > 0:
        random = generator(seed, "selection", "pairs")
        index = torch.randperm(len(pairs), generator=random)[:most_pairs].sort().values
        chosen = pairs.rows(index).to(precision.device)
        rgb_images, other_images = chosen.source, chosen.target
        frozen = source_model.frozen().to(precision.device)
        rgb_features = predict(frozen, rgb_images, crop, precision).features

    def assess(model: AnyClassifier, outputs: Outputs) -> dict[str, float]:
        probabilities = outputs.probabilities
        scores = {
            "entropy": mean_entropy(outputs.logits),
            "information_maximisation": information_maximisation(outputs.logits),
            "neighbourhood_density": soft_neighbourhood_density(probabilities),
            "nuclear_norm": nuclear_norm(probabilities),
        }
        if rgb_features is not None:
            other = predict(model, other_images, crop, precision, encoding=encoding).features
            scores["pair_retrieval"] = pair_retrieval(rgb_features, other)
            scores["pair_distance"] = pair_distance(rgb_features, other)
        return {name: float(score) for name, score in scores.items()}

    return assess


def choose_epoch(history: pd.DataFrame, score: str, metric_prefix: str = "score/") -> int:
    """The epoch whose model to take: the best by `score` from epoch 1 on, the first of equals.

    Epoch 0 is the untouched source model and is only taken where there is no other. Values that
    are not finite are passed over.

    Args:
        history: the metrics of one stage in long form, with columns epoch, name and value.
        score: one of `SCORES`; or `last`; or `oracle`, the best balanced accuracy, which no one
            without target labels could choose by.
        metric_prefix: what stands before a score's name in `name`.

    Raises:
        UnknownScore: for another `score`, with the known ones.
        ValueError: if the history is empty, lacks a column or the score (it names what it has),
            has no finite value of it, or two values for one epoch.
    """
    check_choice(score)
    if history.empty or not {"epoch", "name", "value"} <= set(history.columns):
        found = f"{len(history)} rows, columns {list(history.columns)}"
        raise ValueError(f"The history has {found}. Pass epoch, name and value of one stage.")
    last = int(history["epoch"].max())
    if score == "last" or last == 0:
        return last
    metrics = {name: metric_prefix + name for name in SCORES} | {"oracle": "balanced_accuracy"}
    present = set(history["name"])
    if metrics[score] not in present:
        known = [name for name in CHOICES if name == "last" or metrics[name] in present]
        raise ValueError(
            f"The history has no {metrics[score]!r}. It can be chosen by: {', '.join(known)}."
        )
    rows = history[(history["name"] == metrics[score]) & (history["epoch"] >= 1)]
    if rows["epoch"].duplicated().any():
        raise ValueError(
            f"Several values of {metrics[score]!r} for one epoch. Pass the metrics of one stage."
        )
    values = rows.set_index("epoch")["value"].astype(float).sort_index()
    values = values[np.isfinite(values)] * SCORES.get(score, 1)
    if values.empty:
        raise ValueError(
            f"{metrics[score]!r} has no finite value from epoch 1 to {last}. Choose by 'last'."
        )
    return int(values.index[int(values.to_numpy().argmax())])


def _matrix(name: str, values: Tensor, least: int = 1) -> Tensor:
    if values.ndim != 2 or len(values) < least or values.shape[1] == 0:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}. Pass a matrix with {least} or more rows."
        )
    return values.detach().to(torch.promote_types(values.dtype, torch.float32))


def _unit_halves(rgb_features: Tensor, other_features: Tensor) -> tuple[Tensor, Tensor]:
    if rgb_features.shape != other_features.shape:
        raise ValueError(
            f"rgb_features has shape {tuple(rgb_features.shape)} and other_features "
            f"{tuple(other_features.shape)}. Row i of both must be one pair, of one width."
        )
    rgb, other = _matrix("rgb_features", rgb_features), _matrix("other_features", other_features)
    return normalize(rgb, dim=1), normalize(other, dim=1)
