"""On a GPU: tokens per second, memory and share of the card's rate, Finewright beside Hugging Face Trainer with PEFT, by turns.

    python benchmarks/gpu.py [--rounds 3] [--steps 20] [--shape llama …] [--texts long …] [--method lora …] [--out FILE.json]

Two shapes with random weights, made on the GPU: GPT-2 small, and a Llama of about 1 B. Two kinds of texts: `short` ones are those
of `speed.py`; `long` ones have 2,048 tokens each (for GPT-2 1,024, its most), so no row of either side has padding. An update has
as many texts on both sides. One child process per cell and round. Seconds are those of the wall clock, the GPU waited for before
and after the counted updates. Tokens are real ones. The first three updates are not counted but told: compiling is in them.

`finewright`: the engine's own updates with each method's defaults (dropout as the config has it), attention in one kernel. `by
length`: attention length by length. `compiled`: what lies between attention and attention compiled. `trainer`: bfloat16, texts of
like lengths in one batch, no dropout, PyTorch's attention (sdpa), the fused AdamW. `trainer bf16 base`: the same, and the frozen
weights kept in bfloat16, as Finewright keeps those of the blocks. Finewright is compared with the faster of them, and in memory
with the smaller.

Memory: the most that PyTorch held at once from the first update on, weights included (on a CPU: the most that the process had).
Share: useful arithmetic a second (products with the weights of every layer, and attention's own where a token may look) over what
a bfloat16 product of 8,192 × 8,192 × 8,192 reaches in the same process. `pays from`: the update from which on the compiled run is
ahead of the plain one, compiling counted.

`--tiny`: two layers of width 32 on the CPU, to see that all of it runs; its numbers mean nothing. `--table FILE …` prints what
`--out` kept, of several files together.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import children
import speed

from finewright.core.errors import UserError, is_out_of_memory

FINEWRIGHT: dict[str, dict[str, bool]] = {"finewright": {}, "by length": {"at_once": False}, "compiled": {"compiled": True}}
TRAINER, TRAINER_BF16_BASE = "trainer", "trainer bf16 base"
METHODS = {"lora": (*FINEWRIGHT, TRAINER, TRAINER_BF16_BASE), "full": (*FINEWRIGHT, TRAINER)}
"""Who runs each method. Full fine-tuning has no frozen weights, and rounding those that learn would be another training."""
SHAPES = ("gpt2", "llama")
GOALS = {"short": 2.0, "long": 1.2}
ROWS = {"short": speed.ROWS, "long": 4}
"""Texts of an update: more long ones of the larger shape would not fit 80 GB on either side."""
NUM_LONG, LONG_TOKENS = 256, 2048
WARM = 3
"""Updates that are not counted."""
RATE_SIZES, TINY_RATE_SIZES = (8192, 8192, 8192), (64, 64, 64)
TINY_TEXTS, TINY_TOKENS = 96, 160
Cell = tuple[str, str, str, str]
"""Shape, kind of texts, method, who."""


@dataclass(frozen=True)
class Scale:
    """The real thing on a GPU, or the tiny one on a CPU."""

    tiny: bool

    @property
    def device(self) -> str:
        """Where it runs."""
        return "cpu" if self.tiny else "cuda"

    @property
    def rate_sizes(self) -> tuple[int, int, int]:
        """Of the product whose rate is the device's."""
        return TINY_RATE_SIZES if self.tiny else RATE_SIZES

    @property
    def steps(self) -> int:
        """Counted updates of a cell where no other number is asked for."""
        return 2 if self.tiny else 20

    @property
    def most_steps(self) -> int:
        """That three passes over the texts have."""
        return 12 if self.tiny else 160

    def config(self, shape: str, *, dropout: float) -> Any:
        """Of a shape with a head; `dropout`: GPT-2's, a Llama has none."""
        from transformers import GPT2Config, LlamaConfig

        sizes: dict[str, Any] = {"num_labels": speed.LABELS, "pad_token_id": 0, "use_cache": False}
        if self.tiny:
            sizes |= {"vocab_size": 512, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 0}
        if shape == "gpt2":
            sizes |= {"n_embd": 32, "n_layer": 2, "n_head": 4} if self.tiny else {}
            return GPT2Config(**sizes, resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout)
        sizes |= {} if self.tiny else {"vocab_size": 128_256, "max_position_embeddings": 8192}
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
        sizes |= zip(names, (32, 2, 4, 2, 64) if self.tiny else (2048, 16, 32, 8, 8192), strict=True)
        return LlamaConfig(**sizes)

    def network(self, shape: str, *, dropout: float) -> Any:
        """With random weights, made where it will run."""
        import torch
        from transformers import AutoModelForSequenceClassification

        torch.manual_seed(0)
        with torch.device(self.device):
            return AutoModelForSequenceClassification.from_config(self.config(shape, dropout=dropout), dtype=torch.float32)

    def texts(self, kind: str, config: Any) -> list[list[int]]:
        """Token ids of every text. None is the padding's: a head looks for that."""
        import numpy as np

        if kind == "short":
            found = speed.texts(TINY_TEXTS if self.tiny else speed.NUM_TEXTS)
        else:
            size = (TINY_TEXTS, TINY_TOKENS) if self.tiny else (NUM_LONG, min(LONG_TOKENS, config.max_position_embeddings))
            found = np.random.default_rng(0).zipf(1.3, size).tolist()
        return [[1 + token % (config.vocab_size - 1) for token in ids] for ids in found]


class Clock:
    """Hears the number of every update: waits for the GPU and looks at the clock before the first one, when what is not counted
    is over, and after the last one."""

    def __init__(self, device: str, *, num_steps: int) -> None:
        self._device, self._last = device, WARM + num_steps
        self._seconds: dict[int, float] = {}
        self._memory_bytes = 0

    def __call__(self, number: int) -> None:
        """After the update of this number; 0: before the first one."""
        if number not in (0, WARM, self._last):
            return
        self._seconds[number] = self.now()
        if self._device == "cuda":
            import torch

            if number == 0:
                torch.cuda.reset_peak_memory_stats()
            self._memory_bytes = torch.cuda.max_memory_allocated()
        else:
            from finewright.core import hardware

            self._memory_bytes = hardware.peak_resident_bytes()

    def now(self) -> float:
        """Seconds, when all work that was asked for is done."""
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def told(self, step_tokens: list[int]) -> dict[str, Any]:
        """What was counted; `step_tokens`: of each update after the first."""
        counted, wall = step_tokens[WARM - 1 :], self._seconds[self._last] - self._seconds[WARM]
        assert len(counted) == self._last - WARM, "as many updates as were asked for"
        told = {"tokens": sum(counted), "wall_seconds": wall, "rate": sum(counted) / wall, "step_seconds": wall / len(counted)}
        return told | {"first_seconds": self._seconds[WARM] - self._seconds[0], "memory_bytes": self._memory_bytes}


def flops(net: Any, method_name: str, lengths: list[int]) -> float:
    """For each token of an update: products with the weights of every layer (forward, the states' gradients, and the weights'
    where they learn), and attention's own, forward and two back, with the tokens up to this one."""
    from finewright.models import architectures

    blocks = net.get_submodule(architectures.architecture_of(net.config).layers)
    weights = sum(parameter.numel() for parameter in blocks.parameters() if parameter.ndim == 2)
    seen = speed.Texts.of(lengths).seen / 2  # half of a text lies before a token, on average
    attention = 2 * len(blocks) * net.config.hidden_size * seen
    return 2.0 * (weights * (3 if method_name == "full" else 2) + attention * 3)


def finewright(net: Any, ids: list[list[int]], name: Cell, *, num_steps: int, clock: Clock, device: str) -> dict[str, Any]:
    """The engine's own updates."""
    import engine_steps

    _, kind, method_name, who = name
    counts = {"num_labels": speed.LABELS, "num_steps": WARM - 1 + num_steps, "rows_per_step": ROWS[kind]}
    told = engine_steps.measure(net, ids, method=method_name, options={}, device=device, heard=clock, **counts, **FINEWRIGHT[who])
    return told | {"compiled": sum(module._compiled_call_impl is not None for module in net.modules())}


def trainer(net: Any, ids: list[list[int]], name: Cell, *, num_steps: int, clock: Clock, device: str) -> dict[str, Any]:
    """The Trainer's updates. Weights that learn are float32 on either side."""
    import torch

    _, kind, method_name, who = name
    net = speed.peer(net.to(torch.bfloat16) if who == TRAINER_BF16_BASE else net, method_name, dropout=0.0)
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    steps = {"rows": ROWS[kind], "device": device, "heard": clock}
    return speed.trainer_steps(net, ids, WARM - 1 + num_steps, bf16=True, alike=True, **steps)


def cell(name: Cell, *, scale: Scale, num_steps: int) -> dict[str, Any]:
    """One measurement, in this process; `skipped` where it cannot be had here, and why."""
    import torch

    told = dict(zip(("shape", "texts", "method_name", "who"), name, strict=True))
    torch._dynamo.reset()  # of tiny cells many run in one process
    try:
        return told | _measured(name, scale=scale, num_steps=num_steps)
    except (ImportError, RuntimeError, UserError) as error:
        if not (why := _why_not_here(error, name[3])):
            raise
        return told | {"skipped": why}


def _why_not_here(error: Exception, who: str) -> str:
    """What a cell is skipped for; empty where the benchmark itself is at fault."""
    if is_out_of_memory(error):
        return "out of memory"
    if isinstance(error, UserError):  # PyTorch cannot compile here
        return error.what
    return str(error).strip().splitlines()[0] if isinstance(error, ImportError) and who not in FINEWRIGHT else ""


def _measured(name: Cell, *, scale: Scale, num_steps: int) -> dict[str, Any]:
    shape, kind, method_name, who = name
    clock, ours = Clock(scale.device, num_steps=num_steps), who in FINEWRIGHT
    net = scale.network(shape, dropout=0.1 if ours else 0.0)
    ids = scale.texts(kind, net.config)
    useful = flops(net, method_name, [len(one) for one in ids])
    made = (finewright if ours else trainer)(net, ids, name, num_steps=num_steps, clock=clock, device=scale.device)
    told = {
        "precision": made["precision"],
        "attention": net.config._attn_implementation,
        "parts_compiled": made.get("compiled", 0),
    }
    told |= clock.told(made["step_tokens"])
    rate = speed.matmul_rate(clock.now, sizes=scale.rate_sizes, device=scale.device)
    return told | {"flops": useful, "matmul_rate": rate, "share": told["rate"] * useful / rate}


@dataclass(frozen=True)
class Group:
    """All rounds of one cell."""

    found: list[dict[str, Any]]

    def median(self, key: str) -> float:
        """Of all rounds."""
        return statistics.median(one[key] for one in self.found)

    def spread(self) -> str:
        """Median, least and most tokens a second."""
        rates = [one["rate"] for one in self.found]
        return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def groups(cells: list[dict[str, Any]]) -> dict[Cell, Group]:
    """By name, in the order in which they came first, without what was skipped."""
    made: dict[Cell, Group] = {}
    for one in (one for one in cells if "skipped" not in one):
        made.setdefault((one["shape"], one["texts"], one["method_name"], one["who"]), Group([])).found.append(one)
    return made


def compare(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each of Finewright's cells: its rate by that of the faster Trainer, its memory by that of the smaller one, and whether
    that is what was wanted; None where no Trainer ran."""
    made, found = groups(cells), []
    for name, group in made.items():
        peers = [other for key, other in made.items() if key[:3] == name[:3] and key[3] not in FINEWRIGHT]
        if name[3] not in FINEWRIGHT:
            continue
        times = group.median("rate") / max(one.median("rate") for one in peers) if peers else None
        memory = group.median("memory_bytes") / min(one.median("memory_bytes") for one in peers) if peers else None
        told = dict(zip(("shape", "texts", "method_name", "who"), name, strict=True))
        told |= {"times": times, "memory": memory, "goal": GOALS[name[1]], "pays_from": pays_from(made, name)}
        reached = {"fast_enough": times is not None and times >= GOALS[name[1]], "less_memory": memory is not None and memory < 1}
        found.append(told | reached)
    return found


def pays_from(made: dict[Cell, Group], name: Cell) -> int | None:
    """The update from which on the compiled run is ahead of the plain one; None: never, or not to be known."""
    plain, own = made.get((*name[:3], "finewright")), made[name]
    if name[3] != "compiled" or plain is None:
        return None
    slower = own.median("first_seconds") - plain.median("first_seconds")
    gain = plain.median("step_seconds") - own.median("step_seconds")
    return WARM + max(0, math.ceil(slower / gain)) if gain > 0 else None


def lines(cells: list[dict[str, Any]]) -> Iterator[str]:
    """The table: medians and spread, with the goals beside what was reached."""
    yield from dict.fromkeys(f"left out: {' '.join(_name(one))} ({one['skipped']})" for one in cells if "skipped" in one)
    yield "Goals: short texts at least 2 × the Trainer's tokens a second, long ones at least 1.2 ×, less memory in each."
    compared = {_name(one): one for one in compare(cells)}
    heads = (
        "shape",
        "texts",
        "method_name",
        "who",
        "tokens a second: median (least–most)",
        "against the Trainer (goal)",
        "memory, GB",
    )
    heads += (
        "of the Trainer's (goal: less)",
        "attention",
        "of the card's rate",
        f"first {WARM} updates, s",
        "an update, ms",
        "pays from",
    )
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for name, group in groups(cells).items():
        against = _against(compared[name], name) if name in compared else ("", "", "")
        size, share = f"{group.median('memory_bytes') / 1e9:.2f}", f"{group.median('share'):.1%}"
        attention = group.found[0]["attention"]
        first, step = f"{group.median('first_seconds'):.1f}", f"{group.median('step_seconds') * 1e3:.1f}"
        told = (*name, group.spread(), against[0], size, against[1], attention, share, first, step, against[2])
        yield f"| {' | '.join(told)} |"


def _name(one: dict[str, Any]) -> Cell:
    return one["shape"], one["texts"], one["method_name"], one["who"]


def _against(told: dict[str, Any], name: Cell) -> tuple[str, str, str]:
    """Times as fast with the goal, share of the memory, and from where on compiling pays."""
    pays = "" if name[3] != "compiled" else "never" if told["pays_from"] is None else f"update {told['pays_from']:,}"
    if told["times"] is None:
        return "", "", pays
    speedy, small = ("reached" if told[key] else "not reached" for key in ("fast_enough", "less_memory"))
    return f"{told['times']:.2f} × (≥ {told['goal']:g}: {speedy})", f"{told['memory']:.0%} ({small})", pays


def names(arguments: argparse.Namespace) -> list[Cell]:
    """The cells of a round that are asked for."""
    return [
        (shape, kind, method_name, who)
        for shape in arguments.shape or SHAPES
        for kind in arguments.texts or GOALS
        for method_name in arguments.method or METHODS
        for who in METHODS[method_name]
        if who in (arguments.who or METHODS[method_name])
    ]


def _in_child(asked: list[Cell], arguments: argparse.Namespace, *, store: str) -> list[dict[str, Any]]:
    """`store`: an empty cache, so that nothing that was compiled earlier is found. What a child that died was to measure is
    skipped: the others' time on the card is not lost."""
    words = ["--steps", str(arguments.steps), *(["--tiny"] if arguments.tiny else [])]
    words += [word for one in asked for word in ("--cell", *one)]
    try:
        return children.cell(__file__, words, store=store, threads=1 if arguments.tiny else arguments.threads)["cells"]
    except subprocess.CalledProcessError as error:
        died = {"skipped": f"its process ended with {error.returncode}", "died": True}
        return [dict(zip(("shape", "texts", "method_name", "who"), one, strict=True)) | died for one in asked]


def _as_child(arguments: argparse.Namespace) -> None:
    """Measure what is named, on one GPU: with several the Trainer would take them all."""
    store = Path(os.environ["FINEWRIGHT_CACHE"])
    os.environ |= {"TORCHINDUCTOR_CACHE_DIR": str(store / "inductor"), "TRITON_CACHE_DIR": str(store / "triton")}
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    if arguments.tiny:
        from finewright.models import acceleration

        acceleration.BACKEND = "aot_eager"  # the compiler's last stage wants a GPU or a compiler for C++
    scale = Scale(arguments.tiny)
    print(json.dumps({"cells": [cell(tuple(name), scale=scale, num_steps=arguments.steps) for name in arguments.cell]}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="counted updates of a cell (20; tiny: 2)")
    parser.add_argument("--threads", type=int, default=4, help="of the processor, for each cell")
    parser.add_argument("--shape", action="append", choices=SHAPES)
    parser.add_argument("--texts", action="append", choices=list(GOALS))
    parser.add_argument("--method", action="append", choices=list(METHODS))
    parser.add_argument("--who", action="append", choices=list(METHODS["lora"]))
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the CPU, all cells of a round in one process")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", help="files of --out to print again, together")
    parser.add_argument("--cell", nargs=4, action="append", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """The command."""
    parser = _parser()
    arguments = parser.parse_args()
    scale = Scale(arguments.tiny)
    arguments.steps = scale.steps if arguments.steps is None else arguments.steps
    if not 1 <= arguments.steps <= scale.most_steps:
        parser.error(f"argument --steps: {arguments.steps}, wanted 1 to {scale.most_steps}")
    if arguments.cell:
        _as_child(arguments)
        return
    if arguments.table:
        print(
            *lines([one for file in arguments.table for one in json.loads(file.read_text(encoding="utf-8"))["cells"]]), sep="\n"
        )
        return
    import torch

    if not (arguments.tiny or torch.cuda.is_available()):
        parser.exit(1, f"{parser.prog}: error: no CUDA GPU that PyTorch {torch.__version__} can use; --tiny needs none\n")
    from finewright.core import hardware

    environment, cells = hardware.environment(), list[dict[str, Any]]()
    asked = [names(arguments)] if arguments.tiny else [[name] for name in names(arguments)]
    with tempfile.TemporaryDirectory() as place:
        for number, some in ((number, some) for number in range(arguments.rounds) for some in enumerate(asked)):
            cells += _in_child(some[1], arguments, store=f"{place}/{number}-{some[0]}")
            if arguments.out:
                told = {"environment": environment, "cells": cells, "compared": compare(cells)}
                arguments.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    print(json.dumps(environment))
    print(*lines(cells), sep="\n")
    if any("died" in one for one in cells):
        sys.exit(1)


if __name__ == "__main__":
    main()
