"""Questions about the learner's own runs: every answer is computed, never written down."""

import json
import math
import random

import pytest

from finewright.comparison.statistics import paired_p_value
from finewright.learn import run_history
from finewright.learn.questions import about_runs
from finewright.tasks.metrics import wilson_interval
from support import made_runs, own_truth

ONE_RUN = 17
"""Kinds that one finished run is enough for, at least."""


def asked(root):
    return {one.id: one for one in about_runs.build_questions(run_history.choose_comparable(run_history.find_runs(root)))}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    made_runs.write_runs(root)
    return asked(root)


def test_there_are_enough_of_them(questions, tmp_path):
    assert len(questions) >= 28
    made_runs.write_run(tmp_path)
    assert len(asked(tmp_path)) >= ONE_RUN
    assert asked(tmp_path / "none") == {}


def test_each_has_one_right_answer_and_explains_all(questions):
    for one in questions.values():
        assert 3 <= len(one.options) <= 4
        assert sum(option.ok for option in one.options) == 1
        assert len({option.text for option in one.options}) == len(one.options)
        assert all(option.why.strip() for option in one.options)
        assert one.key.startswith("runs/")


def test_a_run_that_trained_nearly_all_is_not_asked_for_its_share(tmp_path):
    made_runs.write_run(tmp_path / "full", "full")
    made_runs.write_run(tmp_path / "lora", "lora")
    assert "trained-share" not in asked(tmp_path / "full")
    assert "trained-share" in asked(tmp_path / "lora")


def test_another_run_has_other_answers(tmp_path):
    made_runs.write_run(tmp_path / "a", "lora", accuracy=0.9, seed=1)
    made_runs.write_run(
        tmp_path / "b", "lora", accuracy=0.7, seed=2, trainable_parameters=80_000, head_parameters=999,
        total_parameters=9_000_000, artifact_bytes=777_000, num_train=500, steps=200, best_step=126,
    )  # fmt: skip
    (tmp_path / "b" / "lora-2" / "model" / "config.json").write_text('{"hidden_size": 333}')
    first, second = asked(tmp_path / "a"), asked(tmp_path / "b")
    computed = (
        "trained-share",
        "frozen-count",
        "head-size",
        "wrong-rows",
        "own-interval",
        "file-size",
        "kept-step",
        "messages-a-step",
    )
    for kind in computed:
        assert first[kind].right.text != second[kind].right.text, kind


def test_answers_agree_with_the_files(tmp_path):
    run = made_runs.write_run(tmp_path, "freeze", accuracy=0.8)
    result = json.loads((run / "result.json").read_text())
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    right = sum(row["label"] == row["predicted"] for row in rows)
    low, high = wilson_interval(right, len(rows))
    wanted = {
        "trained-share": f"{result['trainable_parameters'] / result['total_parameters']:.3%}",
        "frozen-count": f"{result['total_parameters'] - result['trainable_parameters']:,}",
        "head-size": "3 labels x 256 numbers a token's state has",
        "own-first-loss": f"about {math.log(3):.2f}",
        "wrong-rows": str(len(rows) - right),
        "own-interval": f"{low:.1%} to {high:.1%}",
        "file-size": f"{result['artifact_bytes'] / 1e6:,.2f} MB",
        "largest-part": "activations",
        "kept-step": "those of step 63",
        "own-reason": "the default of freeze",
        "messages-a-step": "about 15.9",
        "plan-and-measured": "Within 10% of the plan",
    }
    found = asked(tmp_path)
    assert {kind: found[kind].right.text for kind in wanted} == wanted
    hardest = min(result["metrics"]["test"]["per_class"].items(), key=lambda pair: pair[1]["f1"])[0]
    assert found["hardest-label"].right.text == hardest


@pytest.mark.parametrize(
    ("planned", "measured", "answer"),
    [(100, 100, "Within"), (100, 130, "More than 10% above"), (100, 70, "More than 10% below"), (0, 70, None)],
)
def test_plan_and_measured(tmp_path, planned, measured, answer):
    made_runs.write_run(tmp_path, planned_peak_memory_bytes=planned << 20, peak_memory_bytes=measured << 20)
    found = asked(tmp_path).get("plan-and-measured")
    assert found.right.text.startswith(answer) if answer else found is None


@pytest.mark.parametrize(("majority", "answer"), [(0.3, "Yes"), (0.99, "No"), (None, "It cannot be told")])
def test_better_than_the_majority(tmp_path, majority, answer):
    run = made_runs.write_run(tmp_path, accuracy=0.8)
    result = json.loads((run / "result.json").read_text())
    test = result["metrics"]["test"]
    just_below = (test["accuracy_ci95"][0] + test["accuracy"]) / 2  # higher than the majority, and yet nobody can tell
    test["majority_accuracy"] = just_below if majority is None else majority
    (run / "result.json").write_text(json.dumps(result))
    assert asked(tmp_path)["own-majority"].right.text.startswith(answer)


@pytest.mark.parametrize("other", [0.86, 0.3])
def test_one_run_is_called_better_only_if_the_paired_test_says_so(tmp_path, other):
    made_runs.write_run(tmp_path, "lora", accuracy=0.88)
    made_runs.write_run(tmp_path, "full", accuracy=other)
    group = {one.label: one for one in run_history.choose_comparable(run_history.find_runs(tmp_path))}
    ahead = max(group.values(), key=lambda one: one.measured.accuracy).label
    # Rows of different truths stand beside each other here; the test looks only at right and wrong.
    p = paired_p_value(group["lora"].correct_rows(), group["full"].correct_rows())
    wanted = f"{ahead} is better" if p < 0.05 else "Nobody can say from these messages"
    assert asked(tmp_path)["told-apart"].right.text == wanted
    assert (p < 0.05) == (other == 0.3)


def test_side_by_side(questions):
    assert questions["which-fits"].right.text == "prompt"
    assert questions["how-many-times"].right.text == f"about {7_000_000 / 6_000:,.1f} times as many"
    assert questions["pretraining-worth"].right.text.startswith("+")


def test_every_answer_agrees_with_the_files(tmp_path):
    """Worked out anew, without the package, for every kind there is."""
    made_runs.write_runs(tmp_path)
    found = asked(tmp_path)
    assert set(found) == own_truth.KINDS
    assert {kind: one.right.text for kind, one in found.items()} == {
        kind: own_truth.answer(one, tmp_path) for kind, one in found.items()
    }


@pytest.mark.parametrize("method", ["lora", "full", "scratch", "freeze", "prompt"])
def test_every_answer_about_one_run_alone(tmp_path, method):
    made_runs.write_run(tmp_path, method, accuracy=0.7)
    found = asked(tmp_path)
    assert len(found) >= ONE_RUN
    for kind, one in found.items():
        assert one.right.text == own_truth.answer(one, tmp_path), kind


@pytest.mark.parametrize("config", ['{"n_embd": 255}', '{"n_embd": "x"}', "{}", "[]", "{", None])
def test_a_head_that_is_more_than_one_row_a_label_is_not_asked_about(tmp_path, config):
    """A bias makes 3 x 255 + 3 of it, which three divides as well."""
    run = made_runs.write_run(tmp_path)
    assert "head-size" in asked(tmp_path)
    if config is None:
        (run / "model" / "config.json").unlink()
    else:
        (run / "model" / "config.json").write_text(config)
    assert "head-size" not in asked(tmp_path)


def test_lora_parameters_are_not_part_of_the_model(tmp_path):
    run = made_runs.write_run(tmp_path, "lora")
    result = json.loads((run / "result.json").read_text())
    found = asked(tmp_path)["frozen-count"]
    assert found.right.text == f"{result['total_parameters'] - result['head_parameters']:,}"
    assert "49,232 were added and 768 are the head" in found.right.why


@pytest.mark.parametrize("turn", range(25))
def test_unusual_values_give_a_right_question_or_none(tmp_path, turn):
    rng = random.Random(turn)
    odd = [0, 1, 2, 3, 63, 10**12, 768]
    for method in rng.sample(["lora", "full", "scratch", "prompt"], rng.randint(1, 4)):
        changes = {
            "trainable_parameters": rng.choice(odd), "head_parameters": rng.choice(odd), "total_parameters": rng.choice(odd[1:]),
            "artifact_bytes": rng.choice(odd), "steps": rng.choice(odd[1:]), "best_step": rng.choice(odd),
            "epochs": rng.choice((0.01, 9.0)), "train_seconds": rng.choice((1e-6, 0.5, 1e7)),
            "planned_peak_memory_bytes": rng.choice(odd), "peak_memory_bytes": rng.choice(odd), "num_train": rng.choice(odd[1:]),
        }  # fmt: skip
        made_runs.write_run(tmp_path, method, accuracy=rng.choice((0.0, 0.5, 1.0)), **changes)
    for kind, one in asked(tmp_path).items():
        assert sum(option.ok for option in one.options) == 1
        assert one.right.text == own_truth.answer(one, tmp_path), kind


@pytest.mark.parametrize("changes", [{"trainable_parameters": 8_000_000}, {"head_parameters": 60_000}])
def test_counts_that_contradict_each_other_are_not_asked_about(tmp_path, changes):
    made_runs.write_run(tmp_path, **changes)
    assert not {"trained-share", "frozen-count", "adam-averages"} & set(asked(tmp_path))


def test_a_step_that_was_not_the_best_is_not_called_so(tmp_path):
    run = made_runs.write_run(tmp_path)
    assert "kept-step" in asked(tmp_path)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"best_step": 126}))
    why = [option.why for option in asked(tmp_path)["kept-step"].options if option.ok]
    assert why == ["They are the last ones: the highest validation accuracy, 80.0%, is not better by a standard error."]
    (run / "result.json").write_text(json.dumps(result | {"best_step": 60}))
    assert "kept-step" not in asked(tmp_path)


@pytest.mark.parametrize(("optimizer", "is_asked"), [(8 * 7_000_000, True), (45_880_000, False), (2 * 7_000_000, False)])
def test_averages_are_asked_about_where_the_plan_has_as_many(tmp_path, optimizer, is_asked):
    """Not where an embedding's unused rows have none, nor where they have 8 bits."""
    run = made_runs.write_run(tmp_path, "full")
    plan = json.loads((run / "plan.json").read_text())
    plan["memory"]["optimizer"] = optimizer
    (run / "plan.json").write_text(json.dumps(plan))
    assert ("adam-averages" in asked(tmp_path)) == is_asked


def test_macro_f1_leaves_out_a_label_that_neither_occurs_nor_is_predicted(tmp_path):
    run = made_runs.write_run(tmp_path, accuracy=0.8)
    result = json.loads((run / "result.json").read_text())
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    pairs = [(row["label"], row["predicted"]) for row in rows if "billing" not in (row["label"], row["predicted"])]
    truth, said = [list(column) for column in zip(*pairs, strict=True)]
    result["metrics"] = {"test": made_runs.compute_metrics([a == b for a, b in pairs], truth, said)}
    (run / "result.json").write_text(json.dumps(result))
    lines = [json.dumps(row) for row in rows if "billing" not in (row["label"], row["predicted"])]
    (run / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    one = asked(tmp_path)["macro-f1"]
    assert one.right.text == f"{result['metrics']['test']['macro_f1']:.3f}" == own_truth.answer(one, tmp_path)
    assert "label by label: returns" in one.question


@pytest.mark.parametrize(("num_wrong", "is_asked"), [(0, False), (1, False), (24, True), (119, False), (120, False)])
def test_half_an_interval_is_asked_about_where_its_rule_holds(tmp_path, num_wrong, is_asked):
    run = made_runs.write_run(tmp_path)
    result = json.loads((run / "result.json").read_text())
    test = result["metrics"]["test"]
    test |= {"accuracy": 1 - num_wrong / 120, "accuracy_ci95": wilson_interval(120 - num_wrong, 120)}
    (run / "result.json").write_text(json.dumps(result))
    assert ("half-interval" in asked(tmp_path)) == is_asked


def test_nearly_a_second_is_not_formatted_in_scientific_notation(tmp_path):
    made_runs.write_run(tmp_path, train_seconds=0.9997 * 126)
    one = asked(tmp_path)["step-seconds"]
    assert one.right.text == "about 1.0 s" == own_truth.answer(one, tmp_path)


def test_no_question_says_where_the_runs_lie_on_this_machine(tmp_path, monkeypatch):
    made_runs.write_runs(tmp_path / "runs")
    for place in (tmp_path, tmp_path / "runs"):
        monkeypatch.chdir(place)
        for one in asked(tmp_path / "runs").values():
            said = one.model_dump_json()
            assert str(tmp_path) not in said, one.id


def test_what_all_parameters_are_is_not_asked(tmp_path):
    made_runs.write_run(tmp_path, "full", trainable_parameters=7_000_000, total_parameters=7_000_000, head_parameters=999)
    assert not {"trained-share", "frozen-count"} & set(asked(tmp_path))
