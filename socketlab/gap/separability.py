"""Whether a linear classifier can tell the two modalities apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from socketlab.gap.pairs import Features, unit_pairs

CLASSIFIER_FOLDS = 5


def modality_guesses(x: Features, y: Features, *, seed: int = 0) -> Tensor:
    """Whether a held-out linear classifier names the modality of each row rightly.

    Logistic regression on standardised columns, five folds grouped by pair, so that a partner
    never sits in the training part. `seed` draws the folds. [n, d] paired features; the result is
    bool [n, 2], columns x, y. Raises ValueError on bad input or fewer than five pairs.
    """
    return held_out_guesses(*unit_pairs(x, y, least=CLASSIFIER_FOLDS), seed=seed)


def proxy_a_distance(x: Features, y: Features, *, seed: int = 0) -> float:
    """PAD = 2 (1 - 2 err), err of the held-out classifier of `modality_guesses`.

    [n, d] and [m, d] features; in [0, 2], cut off at 0 where the classifier does worse than
    chance; 0: a linear classifier cannot tell the modalities apart, 2: always. Its noise is about
    2/sqrt(2n). Where n and m differ there are no pairs to keep together, and `seed` draws as many
    rows of the larger side as the smaller has, so that guessing is right half the time.
    Raises ValueError on bad input. Source: Ben-David et al., NeurIPS 2006.
    """
    unit_x, unit_y = unit_pairs(x, y, least=CLASSIFIER_FOLDS, paired=False)
    if len(unit_x) != len(unit_y):
        least = min(len(unit_x), len(unit_y))
        draw = np.random.default_rng(seed)
        unit_x, unit_y = (rows[draw.permutation(len(rows))[:least]] for rows in (unit_x, unit_y))
    right = float(held_out_guesses(unit_x, unit_y, seed=seed).double().mean())
    return max(0.0, 2 * (2 * right - 1))


def held_out_guesses(x: Tensor, y: Tensor, *, seed: int) -> Tensor:
    """`modality_guesses` of unit rows [n, d], unchecked; on the CPU, where scikit-learn is."""
    # Imported here: scikit-learn takes a second, which the other measures need not wait for.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n = len(x)
    modality = np.repeat([0, 1], n)
    # Each fold's rows are a copy already, so that the scaler need not make another.
    guesses = cross_val_predict(
        make_pipeline(StandardScaler(copy=False), LogisticRegression(max_iter=1000)),
        torch.cat([x, y]).cpu().numpy(),
        modality,
        groups=np.tile(np.arange(n), 2),
        cv=GroupKFold(n_splits=CLASSIFIER_FOLDS, shuffle=True, random_state=seed),
    )
    return torch.from_numpy(guesses == modality).reshape(2, n).T.to(x.device)
