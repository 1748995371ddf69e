"""How many labelled rows a temperature needs: what fitting it on few rows changes on others.

    python benchmarks/calibration_rows.py

Scores are drawn at random, and labels by the softmax of the scores divided by the true temperature, so the best temperature is
known. For each number of rows the temperature is fitted 100 times and measured on 4,000 other rows.
"""

import argparse

import numpy as np

from finewright.tasks.calibration import compute_probabilities, fit_temperature
from finewright.tasks.metrics import calibration_error

WORSE = 0.005
"""Nats by which the log loss has to rise to count as worse."""


def draw(num_rows: int, *, num_labels: int, temperature: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and labels."""
    scores_NC = rng.normal(size=(num_rows, num_labels)) * 3
    targets_N = (compute_probabilities(scores_NC).cumsum(axis=1) < rng.random((num_rows, 1))).sum(axis=1).clip(max=num_labels - 1)
    return (scores_NC * temperature).astype(np.float32), targets_N


def measure(scores_NC: np.ndarray, targets_N: np.ndarray, temperature: float) -> tuple[float, float]:
    """Return log loss and calibration error."""
    found_NC = compute_probabilities(scores_NC, temperature=temperature)
    likelihood_N = found_NC[np.arange(len(targets_N)), targets_N].clip(min=np.finfo(float).tiny)
    return float(-np.log(likelihood_N).mean()), calibration_error(found_NC.max(axis=1), found_NC.argmax(axis=1) == targets_N)


def main() -> None:
    """Print one line for each number of labels, true temperature and number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=100)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| labels | true temperature | rows | fitted, median | log loss, change | draws that are worse | calibration error |")
    print("|---|---|---|---|---|---|---|")
    for num_labels in (2, 7):
        for temperature in (0.6, 1.0, 1.5, 2.5):
            others = draw(4000, num_labels=num_labels, temperature=temperature, rng=rng)
            loss, error = measure(*others, 1.0)
            for num_rows in (10, 20, 50, 100, 300):
                fitted = [
                    fit_temperature(*draw(num_rows, num_labels=num_labels, temperature=temperature, rng=rng))
                    for _ in range(given.draws)
                ]
                found = np.array([measure(*others, one) for one in fitted])
                change_N = found[:, 0] - loss
                print(
                    f"| {num_labels} | {temperature} | {num_rows} | {np.median(fitted):.2f} | {change_N.mean():+.3f} | "
                    f"{(change_N > WORSE).mean():.0%} | {error:.1%} → {found[:, 1].mean():.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
