"""Automatic choices and their reasons."""

from types import SimpleNamespace

import pytest

from finewright import methods
from finewright.core.config import RunConfig, TrainingConfig, build_options
from finewright.models import optional_packages
from finewright.planning import candidates, defaults
from finewright.planning.defaults import Decisions


def test_auto_is_every_method_that_can_be_taken_by_preference():
    names = [method.name() for method in candidates.candidate_methods("auto", options={})]
    assert names[0] == "lora"
    assert "scratch" not in names
    assert {"full", "freeze", "prompt"} < set(names)


def test_options_of_a_method_narrow_auto_down():
    (method,) = candidates.candidate_methods("auto", options={"rank": 4})
    assert (method.name(), method.rank) == ("lora", 4)


def test_auto_leaves_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(optional_packages, "missing_packages", lambda: ["bitsandbytes"])
    assert "qlora" not in [method.name() for method in candidates.candidate_methods("auto", options={})]


def test_the_head_of_pre_trained_weights_starts_from_a_regression_where_the_task_can_fit_one():
    task, unable, language = (
        SimpleNamespace(fits_head=fits_head, is_language_model=lambda is_one=is_one: is_one)
        for fits_head, is_one in ((True, False), (False, False), (False, True))
    )
    cases = [
        ("auto", "lora", task, "probe", "training.head_start = probe: a regression on the frozen features comes first"),
        ("probe", "lora", task, "probe", None),
        ("random", "lora", task, "random", None),
        ("auto", "scratch", task, "random", "training.head_start = random: the features of random weights tell little"),
        ("probe", "scratch", task, "random", "training.head_start = random: the features of random weights tell little"),
        ("auto", "lora", unable, "random", "training.head_start = random: the task has no way to fit a head"),
        ("random", "scratch", task, "random", None),
        ("auto", "lora", language, "random", None),
        ("auto", "scratch", language, "random", None),
        ("probe", "lora", language, "random", "training.head_start = random: the model's own output layer is the head"),
    ]
    for asked, name, kind, expected, said in cases:
        made, method = Decisions(), methods.build_method(name, {})
        options = TrainingConfig(head_start=asked)
        assert defaults.choose_head_start(options, method=method, task=kind, choices=made) == expected
        assert [line.startswith(said or "-") for line in made.sentences()] == ([True] if said else []), (asked, name)


@pytest.mark.parametrize(("steps", "epochs"), [(1000, 3), (167, 3), (100, 5), (26, 20), (1, 20)])
def test_small_sets_get_more_epochs(steps, epochs):
    made = Decisions()
    usual = (3, 20)
    assert defaults.default_epochs(TrainingConfig(), steps_per_epoch=steps, usual=usual, choices=made) == epochs
    assert made.sentences() == [f"training.epochs = {epochs}: {steps} steps an epoch, {epochs * steps} in all"]
    assert defaults.default_epochs(TrainingConfig(epochs=7), steps_per_epoch=steps, usual=usual, choices=made) == 7
    fewer = defaults.default_epochs(TrainingConfig(), steps_per_epoch=100, usual=usual, choices=Decisions(), least_steps=400)
    assert fewer == 4


@pytest.mark.parametrize(
    ("options", "num_validation", "patience", "reason"),
    [
        ({}, 10, 3, "3 epochs clearly worse"),
        ({"evals_per_epoch": 4}, 10, 12, "3 epochs clearly worse"),
        ({}, 0, 0, "no validation rows"),
        ({"early_stopping_patience": 0}, 10, 0, ""),
        ({"early_stopping_patience": 5}, 10, 5, ""),
    ],
)
def test_patience_is_three_epochs_of_evaluations(options, num_validation, patience, reason):
    made = Decisions()
    given = TrainingConfig(**options)
    assert defaults.default_early_stopping_patience(given, num_validation=num_validation, choices=made) == patience
    assert [choice["value"] for choice in made.made if reason in choice["reason"]] == ([patience] if reason else [])
    assert bool(made.made) == bool(reason)


@pytest.mark.parametrize(
    ("variables", "threads", "reason"),
    [
        ({}, 4, "cores this process may use; they were 2 times as fast as one thread just now"),
        ({"OMP_NUM_THREADS": "1"}, 1, "OMP_NUM_THREADS is 1"),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, 2, "MKL_NUM_THREADS is 2"),
        ({"OMP_NUM_THREADS": "2,1"}, 2, "OMP_NUM_THREADS is 2"),
        ({"OMP_NUM_THREADS": "8"}, 4, "cores this process may use"),
        (
            {"OMP_NUM_THREADS": "0", "MKL_NUM_THREADS": "all"},
            4,
            "cores this process may use; they were 2 times as fast as one thread just now",
        ),
    ],
)
def test_threads_are_the_least_that_the_process_may_use(monkeypatch, variables, threads, reason):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(defaults.hardware_rates, "measure_thread_gain", lambda threads: 2.0)
    machine, made = SimpleNamespace(cpu_count=4, device="cpu"), Decisions()
    assert defaults.choose_threads(RunConfig(), machine=machine, choices=made) == threads
    assert made.sentences() == [f"training.num_threads = {threads}: {reason}"]
    asked = build_options(RunConfig, {"training": {"num_threads": 7}})
    assert defaults.choose_threads(asked, machine=machine, choices=made) == 7


def test_one_thread_is_used_where_several_are_no_faster(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    gains = iter([0.25, 1.05, 1.5])
    monkeypatch.setattr(defaults.hardware_rates, "measure_thread_gain", lambda threads: next(gains))
    machine, made = SimpleNamespace(cpu_count=4, device="cpu"), Decisions()
    assert [defaults.choose_threads(RunConfig(), machine=machine, choices=made)] == [1]
    assert "4 threads were 0.25 times as fast as one just now" in made.sentences()[0]
    assert [defaults.choose_threads(RunConfig(), machine=machine, choices=made) for _ in range(2)] == [1, 4]
    assert defaults.choose_threads(RunConfig(), machine=SimpleNamespace(cpu_count=4, device="cuda"), choices=made) == 4


def test_the_longest_text_leaves_room_for_the_prompt():
    made = Decisions()
    settings = RunConfig()
    assert defaults.default_max_length(settings, usual=512, longest=128, prompt_tokens=20, choices=made) == 108
    assert defaults.default_max_length(settings, usual=512, longest=1024, prompt_tokens=20, choices=made) == 512
    asked = build_options(RunConfig, {"data": {"max_length": 2000}})
    assert defaults.default_max_length(asked, usual=512, longest=1024, prompt_tokens=0, choices=made) == 1024
    assert "2000 was asked for, the model has room for 1024" in made.sentences()[-1]


@pytest.mark.parametrize(
    ("suggestion", "taken"),
    [
        ({"learning_rates": {"full": 6e-4, "lora": 1e-9}}, {"full": 6e-4}),
        ({"learning_rates": {"full": "6e-4", "lora": True}}, {}),
        ({"learning_rates": [6e-4]}, {}),
        ({}, {}),
        (6e-4, {}),
    ],
)
def test_a_model_may_suggest_rates_inside_the_methods_range(suggestion, taken):
    config = SimpleNamespace(finewright=suggestion)
    for name in ("full", "lora"):
        method, made = methods.build_method(name, {}), Decisions()
        assert defaults.default_learning_rate(TrainingConfig(), method=method, choices=made, config=config) == (
            taken.get(name, method.learning_rate),
            [],
        )
        assert ("config.json suggests" in made.sentences()[0]) == (name in taken)
        assert defaults.default_learning_rate(TrainingConfig(learning_rate=2e-4), method=method, choices=made, config=config) == (
            2e-4,
            [],
        )


@pytest.mark.parametrize(
    ("method_name", "width", "taken"),
    [
        ("lora", 768, 1e-3),
        ("lora", 4096, 1.9e-4),
        ("full", 4096, 1.9e-5),
        ("full", 384, 2e-4),
        ("freeze", 64, 6e-4),
        ("full", 1_000_000, 1e-6),
        ("prompt", 4096, 3e-2),
        ("scratch", 4096, 3e-4),
    ],
)
def test_wider_networks_get_lower_rates(method_name, width, taken):
    method, made = methods.build_method(method_name, {}), Decisions()
    assert defaults.default_learning_rate(
        TrainingConfig(), method=method, choices=made, config=SimpleNamespace(hidden_size=width)
    ) == (taken, [])
    assert (f"this network's is {width}" in made.sentences()[0]) == (taken != method.learning_rate)


def test_a_rate_outside_the_range_is_warned_about_with_the_range():
    method = methods.build_method("full", {})
    assert defaults.default_learning_rate(TrainingConfig(), method=method, choices=Decisions()) == (method.learning_rate, [])
    rate, warnings = defaults.default_learning_rate(TrainingConfig(learning_rate=0.5), method=method, choices=Decisions())
    assert rate == 0.5
    assert warnings == ["learning rate 0.5 is far outside full's usual range, 1e-06 to 0.001"]


@pytest.mark.parametrize(("width", "capped"), [(4096, False), (512, False), (384, False), (128, True)])
def test_the_limit_of_a_rate_is_named_only_where_it_applies(width, capped):
    _, reason = defaults._default_lr(SimpleNamespace(hidden_size=width), methods.build_method("lora", {}))
    assert f"this network's is {width}" in reason
    assert ("never more than 2 times as much" in reason) == capped


@pytest.mark.parametrize(
    ("num_rows", "num_labels", "steps"),
    [(48, 6, 60), (616, 77, 60), (384, 6, 192), (1000, 6, 240), (1000, 77, 60), (20, 0, 60)],
)
def test_the_updates_on_pairs_grow_with_the_rows_of_a_label(num_rows, num_labels, steps):
    choices = Decisions()
    sizes = {"num_rows": num_rows, "num_labels": num_labels, "choices": choices}
    assert defaults.default_pair_steps(TrainingConfig(), **sizes) == steps
    assert choices.made[0]["reason"].startswith(f"{steps} steps for ")
    assert defaults.default_pair_steps(TrainingConfig(max_steps=9), **sizes) == 9
    assert defaults.default_pair_steps(TrainingConfig(epochs=1), **sizes) == -(-num_rows // 16)
