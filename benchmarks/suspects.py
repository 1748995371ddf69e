"""How many planted label errors, near-duplicates and useful rows `finewright suspects` finds.

    python benchmarks/suspects.py errors --model MODELS/all-MiniLM-L6-v2 --trec6 DATA/trec6/train.jsonl
    python benchmarks/suspects.py errors --method lora --only tickets --seeds 1 --trec6 DATA/trec6/train.jsonl
    python benchmarks/suspects.py duplicates --trec6 DATA/trec6/train.jsonl
    python benchmarks/suspects.py next --model MODELS/all-MiniLM-L6-v2 --trec6 DATA/trec6/train.jsonl

`errors`: 5% of the labels of `tickets` (all 1,457 rows) and of 1,000 rows of trec6 are changed at random, in all splits; a run is
trained on them, and its rows are ranked by `run.find_suspects` and, to compare, by parts of it and by the run's own model. The
method changes the last one alone, so the fastest is the default.
`duplicates`: similarity of texts with small changes, and pairs of real texts at several thresholds. `next`: accuracy of a
regression on frozen features after 50 more rows, chosen in several manners out of a pool.
"""

import argparse
import collections
import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from drawn_rows import Rows, read_splits, write_splits

SHARE = 0.05
"""Share of the labels that are changed."""
TREC6_ROWS = 1000
THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.9)
NUM_FIRST, NUM_MORE, NUM_TEST = 60, 50, 300
"""Rows that are labelled at first, that are added, and that measure the accuracy."""


def read_data(trec6: Path) -> Iterator[tuple[str, dict[str, Rows]]]:
    """Yield each data set with its rows by split."""
    from finewright.core import assets

    train, validation, test = read_splits(assets.TICKETS)
    yield "tickets", {"train": train, "validation": validation, "test": test}
    rows = [json.loads(line) for line in trec6.read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    yield "trec6", {"train": rows[:TREC6_ROWS]}


def plant_errors(splits: dict[str, Rows], *, seed: int) -> tuple[dict[str, Rows], set[tuple[str, str]]]:
    """Return the rows with a share of wrong labels in all splits, and (text, label) of each that is wrong."""
    dice = random.Random(seed)
    places = [(name, number) for name, rows in splits.items() for number in range(len(rows))]
    labels = sorted({row["label"] for rows in splits.values() for row in rows})
    changed = {name: [dict(row) for row in rows] for name, rows in splits.items()}
    for name, number in dice.sample(places, round(SHARE * len(places))):
        row = changed[name][number]
        row["label"] = dice.choice([label for label in labels if label != row["label"]])
    pairs = ((row, new) for name, rows in splits.items() for row, new in zip(rows, changed[name], strict=True))
    return changed, {(new["text"], new["label"]) for row, new in pairs if row["label"] != new["label"]}


def describe_ranking(is_wrong_N: np.ndarray) -> list[float]:
    """Return the share of the errors in the first 10%, and the share of errors in the first 5%; the first row is first."""
    number = len(is_wrong_N)
    return [is_wrong_N[: number // 10].sum() / is_wrong_N.sum(), is_wrong_N[: number // 20].mean()]


def measure_errors(data: Iterable[tuple[str, dict[str, Rows]]], models: list[str], seeds: int, method: str) -> None:
    """Print how many planted errors each ranking finds."""
    print("| data | model | ranking | errors in the first 10% | right in the first 5% |\n|---|---|---|---|---|")
    for name, splits in data:
        for model in models:
            found: dict[str, list[list[float]]] = collections.defaultdict(list)
            told = []
            for seed in range(seeds):
                one, said = measure_run(splits, model, seed=seed, method=method)
                told.append(said)
                for ranking, is_wrong_N in one.items():
                    found[ranking].append(describe_ranking(is_wrong_N))
            for ranking, values in found.items():
                shown = [f"{np.mean(part):.0%} ({min(part):.0%} to {max(part):.0%})" for part in zip(*values, strict=True)]
                print(f"| {name} | {Path(model).name} | {ranking} | {' | '.join(shown)} |", flush=True)
            print(f"{name}, {Path(model).name}: {'; '.join(told)}", flush=True)


def measure_run(splits: dict[str, Rows], model: str, *, seed: int, method: str) -> tuple[dict[str, np.ndarray], str]:
    """Return, by ranking, whether each row is a planted error, and what else was found."""
    import finewright as fw
    from finewright.runs import row_features
    from finewright.runs.base_features import load_base_encoder

    rows, wrong = plant_errors(splits, seed=seed)
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        data.mkdir()
        write_splits(rows, data)
        run = fw.train(data, model=model, method=method, seed=seed, output_dir=Path(place) / "run")
        began = time.monotonic()
        suspects = run.find_suspects()
        took = time.monotonic() - began
        ranked = suspects.rows
        encoder, reason = load_base_encoder(run.config)
        assert encoder is not None, reason
        texts, labels = [row.text for row in ranked], sorted({row.label for row in ranked})
        own_NC = run.predict_proba(texts)
        assert list(run.classes_) == labels
    targets_N = np.array([labels.index(row.label) for row in ranked])
    is_wrong_N = np.array([(row.text, row.label) in wrong for row in ranked])
    assert is_wrong_N.sum() == len(wrong)
    both_NF = row_features.build_features(texts, encoder)
    num_words = row_features.build_features(texts, None).shape[1]
    results = {"suspects": is_wrong_N}
    for name, features_NF in (("frozen states alone", both_NF[:, :-num_words]), ("words alone", both_NF[:, -num_words:])):
        probabilities_NC = row_features.find_out_of_fold_probabilities(features_NF, targets_N, num_labels=len(labels))
        results[name] = is_wrong_N[_order(probabilities_NC, targets_N)]
    results[f"the run's own model ({method})"] = is_wrong_N[_order(own_NC, targets_N)]
    marked_N = np.array([row.is_suspect for row in ranked])
    said = f"{len(wrong)} planted, {marked_N.sum()} marked"
    return results, f"{said}, {is_wrong_N[marked_N].sum()} of them planted, {took:.0f} s"


def _order(probabilities_NC: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    return np.argsort(probabilities_NC[np.arange(len(targets_N)), targets_N], kind="stable")


def measure_duplicates(trec6: Path) -> None:
    """Print how similar texts are after a small change, and how many pairs of real texts are as similar."""
    from finewright.core import assets
    from finewright.data.near_duplicates import find_similar_pairs

    questions = [json.loads(line) for line in trec6.read_text(encoding="utf-8").splitlines()]
    for name, rows in (("tickets", [row for part in read_splits(assets.TICKETS) for row in part]), ("trec6", questions)):
        texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
        dice = random.Random(0)
        for change in ("two letters exchanged", "a word left out", "a word replaced", "punctuation and case"):
            changed = [change_text(text, change, dice, texts) for text in texts[:200]]
            groups = [str(number) for number in range(len(texts))]
            pairs = find_similar_pairs([*texts, *changed], [*groups, *(f"new {one}" for one in groups[:200])], least=0.3)
            near = {pair.first: pair.similarity for pair in reversed(pairs) if pair.second == len(texts) + pair.first}
            shares = [sum(value >= least for value in near.values()) / 200 for least in THRESHOLDS]
            print(name, change, *(f"{least:g}: {share:.0%}" for least, share in zip(THRESHOLDS, shares, strict=True)), flush=True)
        began = time.monotonic()
        pairs = find_similar_pairs(texts, labels, least=THRESHOLDS[0])
        counts = [sum(pair.similarity >= least for pair in pairs) for least in THRESHOLDS]
        print(
            f"{name}: {len(texts):,} texts, {time.monotonic() - began:.1f} s, pairs with different labels:",
            *(f"{least:g}: {count}" for least, count in zip(THRESHOLDS, counts, strict=True)),
            flush=True,
        )


def change_text(text: str, change: str, dice: random.Random, others: list[str]) -> str:
    """Return the text with one small change."""
    words = text.split()
    place = dice.randrange(len(words))
    if change == "two letters exchanged":
        letter = dice.randrange(max(1, len(text) - 1))
        return text[:letter] + text[letter + 1 : letter + 2] + text[letter : letter + 1] + text[letter + 2 :]
    if change == "a word left out":
        return " ".join(words[:place] + words[place + 1 :])
    if change == "a word replaced":
        return " ".join([*words[:place], dice.choice(dice.choice(others).split()), *words[place + 1 :]])
    return f"Hi, {text.rstrip('.?! ').upper()}!!"


def measure_next(trec6: Path, models: list[str], draws: int) -> None:
    """Print the accuracy after more rows are labelled."""
    from finewright import tasks
    from finewright.baselines.frozen_features import FrozenEncoder
    from finewright.models import hub
    from finewright.runs import row_features

    print("| data | model | at first | by chance | lowest margin | as `suspects` chooses |\n|---|---|---|---|---|---|")
    for name, splits in read_data(trec6):
        rows = [row for part in splits.values() for row in part]
        labels = sorted({row["label"] for row in rows})
        targets_N = np.array([labels.index(row["label"]) for row in rows])
        task = tasks.get_task(tasks.DEFAULT).for_labels(labels)
        for model in models:
            how: dict[str, Any] = {"max_length": None, "usual_length": task.default_max_length, "keep_end": False}
            source = hub.resolve_model(model)
            encoder = FrozenEncoder.load(source, head_spec=task.head_spec, bfloat16=False, **how)
            features_NF = row_features.build_features([row["text"] for row in rows], encoder)
            found = [measure_draw(features_NF, targets_N, num_labels=len(labels), seed=seed) for seed in range(draws)]
            shown = " | ".join(f"{value:.1%}" for value in np.mean(found, axis=0))
            print(f"| {name} | {Path(model).name} | {shown} |", flush=True)


def measure_draw(features_NF: np.ndarray, targets_N: np.ndarray, *, num_labels: int, seed: int) -> list[float]:
    """Return the accuracy with the first rows, and with more rows by chance, by margin, and as the command chooses them."""
    from finewright.inference import row_selection
    from finewright.tasks import logistic_regression

    order = np.random.default_rng(seed).permutation(len(targets_N))
    test, first, pool = np.split(order, [NUM_TEST, NUM_TEST + NUM_FIRST])

    def predict(rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
        fitted = logistic_regression.fit(features_NF[rows], targets_N[rows], strength=0.03)
        return logistic_regression.predict(fitted, features_NF[asked], num_labels=num_labels)

    margins_N = row_selection.compute_margins(predict(first, pool))
    near = row_selection.choose_pool(margins_N, NUM_MORE)
    chosen = near[row_selection.choose_rows(margins_N[near], features_NF[pool[near]], NUM_MORE)]
    added = ([], pool[:NUM_MORE], pool[np.argsort(margins_N)[:NUM_MORE]], pool[chosen])
    learnt = (np.concatenate([first, np.array(more, dtype=int)]) for more in added)
    return [float((predict(rows, test).argmax(axis=1) == targets_N[test]).mean()) for rows in learnt]


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("errors", "duplicates", "next"))
    parser.add_argument("--model", action="append", default=[], help="beside mini")
    parser.add_argument("--trec6", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="frozen-features")
    parser.add_argument("--only", choices=("tickets", "trec6"))
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    models = ["mini", *given.model]
    if given.what == "errors":
        data = [(name, splits) for name, splits in read_data(given.trec6) if given.only in (None, name)]
        measure_errors(data, models, given.seeds, given.method)
    elif given.what == "duplicates":
        measure_duplicates(given.trec6)
    else:
        measure_next(given.trec6, models, given.draws)


if __name__ == "__main__":
    main()
