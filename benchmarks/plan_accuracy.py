"""The plan beside the truth: every method on four networks with two batch sizes; memory and seconds, planned and measured.

    python benchmarks/plan_accuracy.py --out FILE.jsonl [--models gpt2,mini,…] [--methods lora,…] [--tokens 256,1024]
    python benchmarks/plan_accuracy.py --table FILE.jsonl

Weights are random where a network is not `mini`: cost does not depend on them. The rows are the embedded `tickets`; a few
updates each, one thread. Cells already in FILE are skipped. Seconds that went into saving, which depend on the disk and are not
planned, are left out of the measured ones.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from finewright_runs import append_line, read_lines

from finewright.core.assets import CONFIGS, MODELS, TICKETS

KEYS = ("peak_memory_bytes", "planned_peak_memory_bytes", "train_seconds", "saving_seconds", "planned_seconds")
LLAMA = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 6, "num_attention_heads": 8}


def build(name: str, place: Path) -> str:
    """The folder of a network with random weights and `mini`'s tokenizer; `mini` is itself."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer, LlamaConfig

    if name == "mini":
        return name
    folder = place / name
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "mini")
    config: Any = (
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=1024, **LLAMA)
        if name == "llama-6"
        else AutoConfig.from_pretrained(CONFIGS / name)
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def measure(arguments: argparse.Namespace) -> None:
    import finewright
    from finewright import methods

    done = {tuple(line[key] for key in ("model", "method", "tokens")) for line in read_lines(arguments.out)}
    wanted = arguments.methods.split(",") if arguments.methods else methods.method_names()
    with tempfile.TemporaryDirectory() as place:
        for name in arguments.models.split(","):
            model = build(name, Path(place))
            for tokens in map(int, arguments.tokens.split(",")):
                for method in wanted:
                    if (name, method, tokens) in done:
                        continue
                    options = {
                        "training.max_steps": arguments.steps,
                        "training.num_threads": 1,
                        "training.early_stopping_patience": 0,
                        "training.tokens_per_micro_batch": tokens,
                    }
                    out = Path(place) / f"{name}-{method}-{tokens}"
                    run = finewright.train(TICKETS, model=model, method=method, output_dir=out, options=options)
                    found = {"model": name, "method": method, "tokens": tokens, "trained": run.result.trainable_parameters}
                    for key in KEYS:
                        found[key] = getattr(run.result, key)
                    found["planned_trained"] = run.folder.read_json(run.folder.plan)["trainable_parameters"]
                    append_line(arguments.out, found)


def table(path: Path) -> None:
    print("| model | method | tokens per micro-batch | memory planned | measured | error | seconds planned | measured | error |")
    print("|---|---|---|---|---|---|---|---|---|")
    errors: dict[str, list[tuple[float, str]]] = {"memory": [], "time": []}
    found = read_lines(path)
    for line in found:
        place = f"{line['model']} {line['method']} {line['tokens']}"
        memory = line["planned_peak_memory_bytes"] / line["peak_memory_bytes"] - 1
        took = line["train_seconds"] - line["saving_seconds"]
        time = line["planned_seconds"] / took - 1
        errors["memory"].append((memory, place))
        errors["time"].append((time, place))
        print(
            f"| {line['model']} | {line['method']} | {line['tokens']:,} | {line['planned_peak_memory_bytes'] / 1e6:,.1f} MB "
            f"| {line['peak_memory_bytes'] / 1e6:,.1f} MB | {memory:+.2%} | {line['planned_seconds']:.1f} "
            f"| {took:.1f} | {time:+.0%} |"
        )
    exact = all(line["trained"] == line["planned_trained"] for line in found)
    print(f"\ncells: {len(found)}; trained parameters exact in all: {'yes' if exact else 'no'}")
    for kind, values in errors.items():
        worst, place = max(values, key=lambda value: abs(value[0]))
        within = sum(abs(error) <= (0.1 if kind == "memory" else 0.25) for error, _ in values)
        print(f"{kind}: worst {worst:+.1%} ({place}); within the goal in {within} of {len(values)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mini,llama-6,gpt2,bert-base-uncased")
    parser.add_argument("--methods")
    parser.add_argument("--tokens", default="256,1024")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.table)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
