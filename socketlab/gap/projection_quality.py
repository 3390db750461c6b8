"""How far a plane can be believed: what it keeps of the neighbours in feature space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

QUALITY_POINTS = 1000
QUALITY_NEIGHBOURS = 15


def plane_quality(
    joint: npt.NDArray[np.float32], plane: npt.NDArray[np.float32], *, seed: int
) -> tuple[float, float]:
    """Trustworthiness and neighbour agreement of a plane [n, 2] of rows [n, d], both in [0, 1].

    T = 1 - 2 / (m k (2m - 3k - 1)) * sum_i sum_j max(0, r(i, j) - k), over the k nearest j of i in
    the plane, r being j's rank in feature space; among at most 1000 points, m of them, drawn with
    the seed. Agreement is the share of the k nearest in feature space, among all rows, that are
    still among the k nearest in the plane, mean over the same points. k = 15, or less than half the
    points. Higher is better; 1: nothing is lost.
    Source: Venna and Kaski, ICANN 2001.
    """
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import NearestNeighbors

    points = np.random.default_rng(seed).permutation(len(joint))[:QUALITY_POINTS]
    # trustworthiness is defined for fewer neighbours than half the points.
    near = min(QUALITY_NEIGHBOURS, (len(points) - 1) // 2)
    trust = float(trustworthiness(joint[points], plane[points], n_neighbors=near))
    shares = []
    # One neighbour more than counted: among all kept rows a point also finds itself.
    found = [
        NearestNeighbors(n_neighbors=near + 1).fit(space).kneighbors(space[points])[1]
        for space in (joint, plane)
    ]
    for point, in_features, in_plane in zip(points, *found, strict=True):
        first = [row for row in in_features if row != point][:near]
        second = [row for row in in_plane if row != point][:near]
        shares.append(len(set(first) & set(second)) / near)
    return trust, float(np.mean(shares))
