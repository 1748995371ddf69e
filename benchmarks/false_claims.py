"""How often a comparison claims a difference that is not there, and how often it finds one that is.

Methods answer by a logistic model: rows are easy or hard for all methods, each method and each seed is able in its own measure.
All methods have the same expected accuracy, 80 %; for the last column one has 50 %. Run: python benchmarks/false_claims.py
"""

import argparse

import numpy as np
from scipy.optimize import brentq

from finewright.comparison import statistics
from finewright.comparison.statistics import RowScores

ROWS, METHODS = 300, 5
EASE, OWN = 1.5, 0.75
"""Standard deviations over rows, on the logistic scale: common to all methods, and of each method."""
FIELDS = {
    "no spread over seeds": [0.0] * METHODS,
    "every method 0.3": [0.3] * METHODS,
    "every method 1.0": [1.0] * METHODS,
    "one 1.0, others 0.1": [1.0] + [0.1] * (METHODS - 1),
    "one 1.5, others 0.3": [1.5] + [0.3] * (METHODS - 1),
}


def ability(accuracy: float, *, spread: float) -> float:
    """What gives this expected accuracy."""
    noise = np.random.default_rng(0).normal(0, np.sqrt(EASE**2 + OWN**2 + spread**2), 100_000)
    return float(brentq(lambda able: (1 / (1 + np.exp(-able - noise))).mean() - accuracy, -8, 12))


def play(rng: np.random.Generator, *, able: list[float], spreads: list[float], seeds: int) -> dict[int, RowScores]:
    """The answers of all methods to the same rows."""
    ease, candidates = rng.normal(0, EASE, ROWS), {}
    for number, (mean, spread) in enumerate(zip(able, spreads, strict=True)):
        chance = 1 / (1 + np.exp(-(mean + ease + rng.normal(0, OWN, ROWS) + rng.normal(0, spread, (seeds, 1)))))
        candidates[number] = RowScores(rng.random((seeds, ROWS)) < chance)
    return candidates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    print("| spread over seeds (logistic) | seeds | any false claim | 80 % told from 50 % |\n|---|---|---|---|")
    for name, spreads in FIELDS.items():
        equal = [ability(0.8, spread=spread) for spread in spreads]
        worse = [ability(0.5, spread=spreads[0]), *equal[1:]]
        for seeds in (1, 2, 3, 5):
            rng = np.random.default_rng(seeds)
            alike = [statistics.compare_pairs(play(rng, able=equal, spreads=spreads, seeds=seeds)) for _ in range(trials)]
            apart = [statistics.compare_pairs(play(rng, able=worse, spreads=spreads, seeds=seeds)) for _ in range(trials)]
            false = np.mean([any(pair.is_significant for pair in pairs) for pairs in alike])
            found = np.mean([pair.is_significant for pairs in apart for pair in pairs if 0 in (pair.first, pair.second)])
            print(f"| {name} | {seeds} | {false:.1%} | {found:.1%} |", flush=True)


if __name__ == "__main__":
    main()
