"""How many rows of a label should weigh as much as the threshold 0.5? F1 on new rows by the prior of `label_thresholds`.

Scores of a simulated model are those of two normal distributions, of rows with the label and of others; the model is calibrated,
or its log odds are `SHIFTS` too low, as those of rare labels often are. Run as: python benchmarks/label_thresholds.py
"""

import numpy as np

from finewright.tasks import label_thresholds

NUM_ROWS, NUM_NEW, NUM_DRAWS = (40, 100, 300, 1000), 20_000, 60
SHARES, SHIFTS, SEPARATION = (0.03, 0.1, 0.3), (0.0, 1.5), 2.0
PRIORS = (0, 3, 10, 30, 100)


def draw_rows(dice: np.random.Generator, count: int, *, share: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (probabilities, whether each row has the label), shapes (count,)."""
    has_label = dice.random(count) < share
    seen = dice.normal(np.where(has_label, SEPARATION / 2, -SEPARATION / 2), 1.0)
    odds = SEPARATION * seen + np.log(share / (1 - share)) - shift
    return 1 / (1 + np.exp(-odds)), has_label


def f1_of(threshold: float, probabilities: np.ndarray, has_label: np.ndarray) -> float:
    """Return F1 of the rows at or above a threshold."""
    said = probabilities >= threshold
    return 2 * float((said & has_label).sum()) / max(1, int(said.sum() + has_label.sum()))


def measure(num_rows: int, *, share: float, shift: float) -> list[float]:
    """Return the mean F1 on new rows with the threshold 0.5, and with each prior."""
    dice, found = np.random.default_rng(0), []
    probabilities, has_label = draw_rows(dice, NUM_NEW, share=share, shift=shift)
    for _ in range(NUM_DRAWS):
        own, marks = draw_rows(dice, num_rows, share=share, shift=shift)
        values = [f1_of(0.5, probabilities, has_label)]
        for prior in PRIORS:
            label_thresholds.PRIOR_ROWS = prior
            (threshold,) = label_thresholds.fit_thresholds(own[:, None], marks[:, None])
            values.append(f1_of(threshold, probabilities, has_label))
        found.append(values)
    return np.mean(found, axis=0).tolist()


if __name__ == "__main__":
    print("rows  share  shift    0.5   " + "   ".join(f"n={prior:<4}" for prior in PRIORS))
    for shift in SHIFTS:
        for share in SHARES:
            for num_rows in NUM_ROWS:
                values = "  ".join(f"{value:.3f} " for value in measure(num_rows, share=share, shift=shift))
                print(f"{num_rows:>5}  {share:<5}  {shift:<4}  {values}")
