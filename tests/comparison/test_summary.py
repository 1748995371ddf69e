"""The verdict: two sentences that claim what the tests show and nothing else."""

import re

from finewright.comparison import summary
from support import made


def twice(name, accuracy, **options):
    return made.entry(name, accuracy, seeds=2, **options)


def sentences(*entries, **options):
    return summary.summarise(made.standing(entries, **options))


def test_methods_that_do_not_differ_significantly_are_named_with_their_cost():
    first, second = sentences(
        twice("lora", 0.92, number=0),
        twice("full", 0.93, number=2),
        twice("scratch", 0.6, kind="random", number=1),
        made.entry("bag-of-words", 0.75, kind="baseline", number=11),
    )
    assert (
        "do not differ significantly here; all others are less accurate; lora's saved model is 100 times smaller than full's."
        in first
    )
    assert first.startswith(("lora (", "full ("))
    assert re.match(
        r"Pre-training was worth 3\d points of accuracy \((lora|full) 9\d\.\d% against scratch 6\d\.\d%, p < 0\.001\)", second
    )
    assert re.search(r"; the best baseline, bag-of-words \(8\d\.\d%\), is 1\d points of accuracy behind (lora|full)\.$", second)


def test_methods_with_the_same_accuracy_tie():
    alike = [made.entry("lora", 0.9), made.entry("qlora", 0.9)]
    first, *_ = sentences(*alike, made.entry("scratch", 0.3, kind="random", number=1))
    assert re.match(r"With one run each, lora and qlora tie for the highest accuracy here, \d\d\.\d%; all others are less", first)
    assert "differ" not in first
    near = made.entry("full", 0.9, number=1)
    first, *_ = sentences(*alike, near, made.entry("scratch", 0.3, kind="random", number=1))
    leads, _, others = first.partition("; the difference from ")
    assert others, "other rows are right, about as many"
    assert "full (" in others
    assert "lora and qlora" in leads


def test_the_sizes_of_small_models_are_not_mentioned():
    first, *_ = sentences(twice("lora", 0.92, number=0), twice("full", 0.93, number=1))
    assert "do not differ significantly" in first
    assert "saved model" not in first


def test_the_size_of_a_model_from_random_weights_is_not_mentioned():
    first, *_ = sentences(twice("lora", 0.92, number=0), twice("scratch", 0.92, kind="random", number=2))
    assert "do not differ significantly" in first
    assert "saved model" not in first


def test_a_clear_winner_is_named_with_its_interval():
    first, _ = sentences(twice("lora", 0.99, rows=600), twice("full", 0.7, number=1, rows=600, kind="random"))
    assert first.startswith("lora (9")
    assert "95% interval" in first
    assert first.endswith("is more accurate here than all others.")


def test_pre_training_that_did_harm_is_a_cost():
    _, second = sentences(made.entry("lora", 0.5), made.entry("scratch", 0.95, kind="random", number=1))
    assert second.startswith("Pre-training cost 52 points of accuracy in these runs (lora 46.0% against scratch 98.5%")


def test_too_few_rows_show_nothing():
    first, second = sentences(made.entry("lora", 0.8, rows=12), made.entry("scratch", 0.6, kind="random", number=1, rows=12))
    assert "do not differ significantly here" in first
    assert second.startswith("These rows do not show whether pre-training helps (lora ")


def test_a_baseline_that_is_ahead_is_named():
    _, second = sentences(made.entry("lora", 0.5, rows=400), made.entry("bag-of-words", 0.9, kind="baseline", number=1, rows=400))
    assert "ahead of lora" in second


def test_three_alike_name_the_best_and_all_alike_name_none():
    candidates = [made.entry(name, 0.8, number=number) for number, name in enumerate(("a", "b", "c"))]
    first, *_ = sentences(*candidates, made.entry("majority", 0.3, kind="baseline", number=9))
    assert "is the most accurate here; the difference from" in first
    assert "is not significant; all others are less accurate" in first
    first, *_ = sentences(*candidates, made.entry("d", 0.8, number=5))
    assert first.startswith("With one run each, nothing that was tried differs significantly here from d (")


def test_one_class_one_method_and_nothing():
    assert sentences(made.entry("lora", 0.9), one_class="spam")[0].startswith("Every test row has the label 'spam'")
    assert sentences(made.entry("lora", 0.9))[0].startswith("Only lora (")
    assert sentences(made.entry("lora", None, reasons=["failed"])) == ["Nothing was measured."]


def test_p_values_as_text():
    assert [summary.format_p(value) for value in (1e-9, 0.0123, 0.5, 1.0)] == ["< 0.001", "= 0.012", "= 0.50", "= 1.00"]
