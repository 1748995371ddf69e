"""Which unlabelled rows to label next: those that a model is uncertain of, and that differ from each other.

Shape suffixes: N rows, F features, C labels.
"""

import numpy as np

from finewright.core.threads import running_single_threaded

POOL_FACTOR, MOST_POOL = 20, 10_000
"""The rows to choose from are the least certain: so many for each row that is wanted, and at most so many."""
MOST_ROUNDS = 20
"""Rounds of k-means. The clusters need not be exact."""


def compute_margins(probabilities_NC: np.ndarray) -> np.ndarray:
    """Return by how much the most probable label of each row is more probable than the second, shape (N,)."""
    highest_N2 = np.sort(probabilities_NC, axis=1)[:, -2:]
    return highest_N2[:, 1] - highest_N2[:, 0]


def choose_pool(margins_N: np.ndarray, num: int) -> np.ndarray:
    """Return the least certain rows, from which `num` are chosen: only these need features. The least certain comes first."""
    size = max(num, min(MOST_POOL, POOL_FACTOR * num))
    return np.argsort(margins_N, kind="stable")[:size]


def choose_rows(margins_N: np.ndarray, features_NF: np.ndarray, num: int) -> list[int]:
    """Return `num` different rows, or all if they are fewer, the least certain first.

    The rows are put into `num` clusters by k-means with the weights 1 - margin, and the row that is nearest to the centre of
    each is taken (Zhdanov 2019, arXiv:1902.05776). Features are brought to length 1, so that the cosine decides.
    """
    order = np.argsort(margins_N, kind="stable")
    if num >= len(order) or not features_NF.shape[1]:
        return order[:num].tolist()
    lengths_N = np.linalg.norm(features_NF, axis=1, keepdims=True)
    chosen = _take_nearest_to_centres(features_NF / np.maximum(lengths_N, 1e-9), margins_N, num)
    taken = {*chosen}
    chosen += [row for row in order.tolist() if row not in taken][: num - len(chosen)]  # where texts are all alike
    return sorted(chosen, key=lambda row: (margins_N[row], row))


def _take_nearest_to_centres(features_NF: np.ndarray, margins_N: np.ndarray, num: int) -> list[int]:
    """Return a row of each cluster; clusters that k-means leaves empty have none."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with running_single_threaded(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different texts than clusters
        clusters = KMeans(num, n_init=1, max_iter=MOST_ROUNDS, random_state=0)
        cluster_N = clusters.fit_predict(features_NF, sample_weight=np.maximum(1.0 - margins_N, 1e-6))
    distance_N = np.square(features_NF - clusters.cluster_centers_[cluster_N]).sum(axis=1)
    nearest = np.lexsort((margins_N, distance_N.round(6), cluster_N))  # of the same text the least certain row
    _, first = np.unique(cluster_N[nearest], return_index=True)
    return nearest[first].tolist()
