"""The plan beside the truth: every method on four networks with two batch sizes; memory and seconds, planned and measured.

    python benchmarks/plan_accuracy.py --out FILE.jsonl [--models gpt2,mini,…] [--methods lora,…] [--tokens 256,1024]
    python benchmarks/plan_accuracy.py --out FILE.jsonl --models families --methods full,lora --tokens 512 --steps 3
    python benchmarks/plan_accuracy.py --table FILE.jsonl
    python benchmarks/plan_accuracy.py --by-model FILE.jsonl

`families`: a narrow network of each of many architectures. `--by-model` prints the planned memory alone, a line a network.
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


FAMILIES = ["albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert", "roberta"]
FAMILIES += [
    "bloom",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "granite",
    "llama",
    "mixtral",
    "olmo2",
    "opt",
    "phi3",
    "qwen3",
    "starcoder2",
]
NARROW = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512, "head_dim": 64}
NARROW |= {"num_key_value_heads": 2, "max_position_embeddings": 1024, "num_local_experts": 4}
RENAMED = {
    "distilbert": {"dim": 256, "n_layers": 4, "n_heads": 4, "hidden_dim": 512},
    "opt": {"ffn_dim": 512, "word_embed_proj_dim": 256},
    "albert": {"embedding_size": 64},
}
"""What such a config calls its sizes, where the others' names do not set them."""


def narrow_config(kind: str, num_tokens: int) -> Any:
    """A config of an architecture with four narrow layers; sizes that it does not have are left out."""
    from transformers import CONFIG_MAPPING, AutoConfig

    known = CONFIG_MAPPING[kind]()
    sizes = {name: size for name, size in NARROW.items() if hasattr(known, name)} | RENAMED.get(kind, {})
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return AutoConfig.for_model(kind, vocab_size=num_tokens, **sizes, **tokens)


def build(name: str, place: Path) -> str:
    """The folder of a network with random weights and `mini`'s tokenizer; `mini` is itself."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer, LlamaConfig

    if name == "mini":
        return name
    folder = place / name
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "mini")
    if name == "llama-6":
        config: Any = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=1024, **LLAMA)
    elif (CONFIGS / name).exists():
        config = AutoConfig.from_pretrained(CONFIGS / name)
    else:
        config = narrow_config(name, len(tokenizer))
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
        for name in FAMILIES if arguments.models == "families" else arguments.models.split(","):
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


def by_model(path: Path) -> None:
    """Planned megabytes with their distance from the measured ones, a line a network."""
    cells: dict[str, dict[str, str]] = {}
    for line in read_lines(path):
        planned, measured = line["planned_peak_memory_bytes"], line["peak_memory_bytes"]
        cells.setdefault(line["model"], {})[line["method"]] = f"{planned / 1e6:,.1f} ({planned / measured - 1:+.1%})"
    heads = list(dict.fromkeys(method for found in cells.values() for method in found))
    print(f"| network | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for name, found in cells.items():
        print(f"| {name} | {' | '.join(found.get(method, '') for method in heads)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mini,llama-6,gpt2,bert-base-uncased")
    parser.add_argument("--methods")
    parser.add_argument("--tokens", default="256,1024")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--by-model", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.table)
    elif arguments.by_model:
        by_model(arguments.by_model)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
