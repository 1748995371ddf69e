"""What regularisers add to fine-tuning on small data: the same runs with and without each, on the same rows.

    python benchmarks/regularisers.py --data DIR [--data DIR] --model DIR --out FILE.jsonl [--rows 500] [--epochs 8] [--seeds 3]
                                      [--method lora] [--max-test 500] [--only NAME,NAME]
    python benchmarks/regularisers.py --table FILE.jsonl

Every run trains on so many rows for so many epochs from a probed head, without validation rows, and scores its last weights on a
fixed sample of the test rows. Runs already in FILE are skipped. The variants change nothing in the package: each is laid over
one of its functions for the length of a run. One process, one thread.
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from drawn_rows import draw_number, read_splits, write_splits
from finewright_runs import append_line, read_lines

TEST_SEED = 0
SMOOTHING, AVERAGE_DECAY, LAYER_DECAY, NOISE = 0.1, 0.98, 0.9, 5.0


def smooth_labels() -> AbstractContextManager[Any]:
    """Label smoothing (Szegedy et al. 2016, arXiv:1512.00567) of 0.1."""
    import torch

    from finewright.tasks.text_classification import TextClassification

    def loss(self: Any, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(output.float(), targets, reduction="sum", label_smoothing=SMOOTHING)

    return mock.patch.object(TextClassification, "loss", loss)


def average_weights() -> AbstractContextManager[Any]:
    """An exponential moving average of the trained weights, decay 0.98, in place of the last ones."""
    from finewright.training import loop

    honest = loop.train

    def averaged(prepared_model: Any, *given: Any, **how: Any) -> Iterator[Any]:
        trained = prepared_model.trainable()
        mean: dict[str, Any] = {}
        for event in honest(prepared_model, *given, **how):
            if type(event).__name__ == "StepCompleted":
                for name, parameter in trained.items():
                    if name in mean:
                        mean[name].lerp_(parameter.detach(), 1 - AVERAGE_DECAY)
                    else:
                        mean[name] = parameter.detach().clone()
            if type(event).__name__ == "TrainingStopped":
                for name, parameter in trained.items():
                    parameter.data.copy_(mean[name])
            yield event

    return mock.patch.object(loop, "train", averaged)


def decay_by_layer() -> AbstractContextManager[Any]:
    """Learning rates that fall by a factor of 0.9 from each layer to the one below (Howard & Ruder 2018, arXiv:1801.06146)."""
    from finewright.models.architectures.base import layer_index
    from finewright.training import loop

    honest = loop.build_optimizer

    def scaled(prepared_model: Any, **how: Any) -> Any:
        optimizer = honest(prepared_model, **how)
        architecture, network = prepared_model.architecture, prepared_model.network
        number_of_layers, scale = len(network.get_submodule(architecture.layers)), {}
        for name, parameter in network.named_parameters():
            index = layer_index(architecture, name)
            inside = architecture.body in name and not name.startswith(tuple(architecture.head))
            depth = 0 if index is None and not inside else number_of_layers - (-1 if index is None else index)
            scale[id(parameter)] = LAYER_DECAY**depth
        groups = optimizer.param_groups[:]
        optimizer.param_groups.clear()
        for group in groups:
            by_scale: dict[float, list[Any]] = {}
            for parameter in group["params"]:
                by_scale.setdefault(scale[id(parameter)], []).append(parameter)
            optimizer.param_groups += [{**group, "params": some, "scale": value} for value, some in by_scale.items()]

        def scale_rates(opened: Any, *_: Any) -> None:
            for group in opened.param_groups:
                group["lr"] *= group["scale"]

        optimizer.register_step_pre_hook(scale_rates)
        return optimizer

    return mock.patch.object(loop, "build_optimizer", scaled)


def drop_no_states() -> AbstractContextManager[Any]:
    """No dropout in the network."""
    from finewright.models.dropout import turn_off_dropout
    from finewright.runs import stages

    honest = stages.loading.load_model

    def load(*given: Any, **how: Any) -> Any:
        base = honest(*given, **how)
        turn_off_dropout(base.network)
        return base

    return mock.patch.object(stages.loading, "load_model", load)


def add_noise() -> AbstractContextManager[Any]:
    """Uniform noise on token embeddings while training, alpha = 5 (NEFTune: Jain et al. 2023, arXiv:2310.05914)."""
    import torch

    from finewright.runs import stages

    honest = stages.loading.load_model

    def load(*given: Any, **how: Any) -> Any:
        base = honest(*given, **how)

        def noisy(module: Any, _: Any, states: torch.Tensor) -> torch.Tensor | None:
            if not module.training:
                return None
            size = NOISE / (NUM_TOKENS * states.shape[-1]) ** 0.5  # a row holds many texts: their usual length counts
            return states + torch.empty_like(states).uniform_(-size, size)

        base.network.get_input_embeddings().register_forward_hook(noisy)
        return base

    return mock.patch.object(stages.loading, "load_model", load)


NUM_TOKENS = 32
"""Tokens of a usual text."""
VARIANTS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], dict[str, Any]]] = {
    "none": (nullcontext, {}),
    "label-smoothing": (smooth_labels, {}),
    "weight-average": (average_weights, {}),
    "layer-decay": (decay_by_layer, {}),
    "no-dropout": (drop_no_states, {}),
    "adapter-dropout": (nullcontext, {"method.dropout": 0.1}),
    "embedding-noise": (add_noise, {}),
    "no-weight-decay": (nullcontext, {"training.weight_decay": 0.0}),
    "weight-decay-0.1": (nullcontext, {"training.weight_decay": 0.1}),
}


def run_one(data: Path, variant: str, arguments: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    """Accuracy and calibration error on the test rows."""
    import finewright

    rows, validation, test = read_splits(data)
    train, _ = draw_number(rows + validation, min(arguments.rows, len(rows)), seed=seed)
    chosen = sorted(random.Random(TEST_SEED).sample(range(len(test)), min(arguments.max_test, len(test))))
    lay, options = VARIANTS[variant]
    if variant == "adapter-dropout" and arguments.method != "lora":
        return {}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        write_splits({"train": train, "test": [test[index] for index in chosen]}, Path(place))
        stack.enter_context(lay())
        run = finewright.train(
            place,
            model=arguments.model,
            method=arguments.method,
            output_dir=Path(place) / "run",
            options={
                "seed": seed,
                "training.num_threads": 1,
                "training.epochs": arguments.epochs,
                "data.validation_fraction": 0.0,
                **options,
            },
        )
        measured = run.result.metrics.test
    return {"accuracy": measured.accuracy, "loss": measured.loss, "rows": len(train)}


def measure(arguments: argparse.Namespace) -> None:
    """Run what is not yet in the file."""
    done = {(line["data"], line["variant"], line["seed"]) for line in read_lines(arguments.out)}
    names = arguments.only.split(",") if arguments.only else list(VARIANTS)
    for seed in range(arguments.seeds):
        for data in arguments.data:
            for variant in names:
                if (data.name, variant, seed) in done:
                    continue
                found = run_one(data, variant, arguments, seed=seed)
                append_line(arguments.out, {"data": data.name, "variant": variant, "seed": seed, **found})


def table(lines: list[dict[str, Any]]) -> list[str]:
    """One Markdown line for each variant: its mean difference to `none` over the same rows and seeds, by data set."""
    value = {(line["data"], line["variant"], line["seed"]): line for line in lines if "accuracy" in line}
    data, seeds = sorted({key[0] for key in value}), sorted({key[2] for key in value})
    shown = ["| variant | " + " | ".join(data) + " | mean ± standard error | loss |", "|---" * (len(data) + 3) + "|"]
    for variant in [name for name in VARIANTS if any(key[1] == name for key in value)]:
        cells, differences, losses = [], [], []
        for one in data:
            pairs = [(value[one, variant, seed], value[one, "none", seed]) for seed in seeds if (one, variant, seed) in value]
            found = [100 * (a["accuracy"] - b["accuracy"]) for a, b in pairs]
            differences, losses = differences + found, losses + [a["loss"] - b["loss"] for a, b in pairs]
            base = statistics.mean(100 * b["accuracy"] for _, b in pairs)
            cells.append(f"{base:.1f}" if variant == "none" else f"{statistics.mean(found):+.1f}")
        error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
        mean = "" if variant == "none" else f"{statistics.mean(differences):+.2f} ± {error:.2f}"
        shown.append(f"| {variant} | {' | '.join(cells)} | {mean} | {statistics.mean(losses):+.3f} |")
    return shown


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--model")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-test", type=int, default=500)
    parser.add_argument("--only", default="")
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(read_lines(arguments.table))))
        return
    if not (arguments.out and arguments.data and arguments.model):
        parser.error("wanted --data, --model and --out, or --table")
    sys.exit(measure(arguments))


if __name__ == "__main__":
    main()
