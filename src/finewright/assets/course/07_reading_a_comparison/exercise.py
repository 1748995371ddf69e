"""Lesson 7: read a comparison honestly: how sure is an accuracy, and is one method better than another?

Write the four functions. scipy may be used: `scipy.stats.binomtest` does most of the work.
`finewright learn check 7` checks them; `python learn/07_reading_a_comparison.py` then reads your own runs.
"""


def interval(num_right: int, num_rows: int) -> tuple[float, float]:
    """The 95% interval of an accuracy, by Wilson's method: it stays inside 0 to 1 and is right for few rows too."""
    raise NotImplementedError


def p_value(right_a: list[bool], right_b: list[bool]) -> float:
    """How likely a difference at least this large is, up or down, if both methods are equally good.

    Both lists say, for the same rows in the same order, whether a method was right. Rows on which both are right, or both
    wrong, say nothing about which is better; on the others an equally good method wins half the time (McNemar's exact test).
    1.0 when there is no such row.
    """
    raise NotImplementedError


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for testing several pairs at once, by Holm's method, in the given order.

    The smallest of n is multiplied by n, the next by n - 1, and so on; none may be smaller than one before it in that
    order, and none is above 1.
    """
    raise NotImplementedError


def better(right: dict[str, list[bool]], level: float = 0.05) -> list[tuple[str, str]]:
    """Every pair (better, worse) of methods of which that can be said: its p-value after Holm over all pairs is below `level`.

    right: a method's name, and for every row whether it was right. The pairs may come in any order.
    """
    raise NotImplementedError


if __name__ == "__main__":
    import json
    from pathlib import Path

    places = [path.parent for path in Path("runs").glob("*/results.json")]  # of comparisons; the newest is read
    place = max(places, key=lambda path: path.stat().st_mtime, default=Path("runs/demo"))
    right = {}
    for path in sorted(place.glob("runs/*/predictions.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        right[path.parent.name] = [line["label"] == line["predicted"] for line in lines]
    print(f"{len(right)} runs of {place}" if right else "No comparison here yet: `finewright demo --methods` makes one.")
    for name, one in right.items():
        low, high = interval(sum(one), len(one))
        print(f"{name}: {sum(one)} of {len(one)}, {sum(one) / len(one):.3f}, 95% interval {low:.3f} to {high:.3f}")
    pairs = better(right)
    for winner in dict.fromkeys(one for one, _ in pairs):
        print(f"{winner} is better than {', '.join(loser for one, loser in pairs if one == winner)}")
    if right:
        print("Of all other pairs these rows do not say which is better.")
