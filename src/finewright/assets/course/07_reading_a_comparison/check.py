"""What lesson 7 asks: Wilson's interval, the paired exact test, Holm's correction, and an honest verdict."""

import math
import random
from typing import Any

from scipy.stats import binomtest


def check(learner: Any, expect: Any) -> None:
    """Number by number, then the verdict."""
    _check_interval(learner, expect)
    _check_pairs(learner, expect)
    _check_holm(learner, expect)
    _check_verdict(learner, expect)


def _check_interval(learner: Any, expect: Any) -> None:
    for right, rows in ((86, 100), (20, 20), (3, 7)):
        found, wanted = learner.interval(right, rows), _wilson(right, rows)
        share, half = right / rows, 1.959964 * math.sqrt(right / rows * (1 - right / rows) / rows)
        exact = binomtest(right, rows).proportion_ci(0.95, method="exact")
        wrong = "plain_interval" if _like(found, (share - half, share + half)) else ""
        wrong = wrong or ("ninety_percent" if _like(found, _wilson(right, rows, 1.644854)) else "")
        wrong = wrong or ("exact_interval" if _like(found, (exact.low, exact.high)) else "")
        said = f"`interval({right}, {rows})`"
        if not expect.true(said, _like(found, wanted), expected=_words(wanted), found=_words(found), wrong=wrong):
            return


def _wilson(right: int, rows: int, z: float = 1.959964) -> tuple[float, float]:
    share, scale = right / rows, 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return middle - half, middle + half


def _like(found: Any, wanted: tuple[float, float]) -> bool:
    return len(found) == 2 and all(abs(one - two) < 2e-4 for one, two in zip(found, wanted, strict=True))


def _words(found: Any) -> str:
    return f"{float(found[0]):.3f} to {float(found[1]):.3f}"


def _rows(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    rows = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b + [(False, False)] * neither
    random.Random(0).shuffle(rows)
    return [a for a, _ in rows], [b for _, b in rows]


def _check_pairs(learner: Any, expect: Any) -> None:
    right_a, right_b = _rows(160, 18, 6, 16)
    wanted = binomtest(18, 24).pvalue
    known = {
        binomtest(18, 24, alternative="greater").pvalue: "one_sided",
        _unpaired(right_a, right_b): "unpaired",
        math.erfc(abs(18 - 6) / math.sqrt(24) / math.sqrt(2)): "not_exact",
        binomtest(178, 200, 166 / 200).pvalue: "other_taken_as_sure",
    }
    found = learner.p_value(right_a, right_b)
    expect.near("`p_value`: A alone right on 18 rows, B alone on 6, of 200", found, wanted, tolerance=2e-4, wrong=known)
    turned = learner.p_value(right_b, right_a)
    expect.near("`p_value`: the same when A and B change places", turned, wanted, tolerance=2e-4, wrong=known)
    same = learner.p_value([True, False, True], [True, False, True])
    expect.equal("`p_value`: no row on which they differ", same, 1.0)


def _unpaired(right_a: list[bool], right_b: list[bool]) -> float:
    """Two shares, as if they came from different rows: the usual z-test."""
    n, a, b = len(right_a), sum(right_a), sum(right_b)
    pooled = (a + b) / (2 * n)
    return math.erfc(abs(a - b) / n / math.sqrt(2 * pooled * (1 - pooled) / n) / math.sqrt(2))


def _check_holm(learner: Any, expect: Any) -> None:
    given, wanted = [0.04, 0.01, 0.03, 0.6], [0.09, 0.04, 0.09, 0.6]
    found = tuple(round(float(p), 6) for p in learner.holm(list(given)))
    known = {
        tuple(given): "no_correction",
        (0.16, 0.04, 0.12, 1.0): "bonferroni",
        (0.08, 0.04, 0.09, 0.6): "may_fall_again",
        (0.04, 0.09, 0.09, 0.6): "order_lost",
    }
    expect.equal(f"`holm({given})`", found, tuple(wanted), wrong=known)
    most = max(map(float, learner.holm([0.9, 0.8])))
    expect.true("`holm`: none is above 1", most <= 1, expected="at most 1", found=f"{most:.2g}", wrong="above_one")


def _check_verdict(learner: Any, expect: Any) -> None:
    rng = random.Random(1)
    base = [rng.random() < 0.8 for _ in range(300)]
    close = [one if rng.random() < 0.97 else not one for one in base]
    worse = [one and rng.random() < 0.75 for one in base]
    found = {tuple(pair) for pair in learner.better({"base": base, "close": close, "worse": worse})}
    wanted = {("base", "worse"), ("close", "worse")}
    wrong = "turned_round" if found == {(b, a) for a, b in wanted} else ""
    wrong = wrong or ("higher_is_better" if len(found) == 3 else "")
    shown = ", ".join(f"{a} over {b}" for a, b in sorted(found)) or "none"
    expect.true(
        "`better`: two clear pairs of three",
        found == wanted,
        expected="base over worse, close over worse",
        found=shown,
        wrong=wrong,
    )
    a, b = _rows(150, 21, 8, 21)  # their intervals overlap, and the paired test still tells them apart
    pairs = [tuple(pair) for pair in learner.better({"a": a, "b": b})]
    shown, wrong = ", ".join(f"{x} over {y}" for x, y in pairs) or "none", "" if pairs else "intervals_must_part"
    what = "`better`: intervals overlap, yet the test tells them apart"
    expect.true(what, pairs == [("a", "b")], expected="a over b", found=shown, wrong=wrong)
    rng = random.Random(0)  # among these 28 pairs some fall below 0.05 by luck, as one in twenty does
    chance = {f"method {i}": [rng.random() < 0.8 for _ in range(200)] for i in range(8)}
    lucky = learner.better(chance)
    said = f"{len(lucky)} pairs" if lucky else "no pair"
    expect.true(
        "`better`: eight methods that are equally good", not lucky, expected="no pair", found=said, wrong="each_pair_alone"
    )
