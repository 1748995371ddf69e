"""How much faster a training step is packed than padded, for every described architecture whose texts can share a row.

    python benchmarks/family_speed.py [--width 256] [--texts 16] [--repeats 5] [--only TYPE,TYPE] [--out FILE.jsonl]

Every network is a narrow random one of its type's default config: its first layers, so many that each kind of layer is among
them, without dropout. A step is forward and backward of all weights on 16 texts of the built-in tickets, cut into words, at most
128. Both forms run in turn on the same weights and texts; the table has their fastest steps in processor time, on one thread, and
the ratio. Types whose default config builds no network are named as failed.
"""

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from finewright_runs import append_line

MOST_TOKENS, VOCABULARY = 128, 1000


def text_lengths(number: int) -> list[int]:
    """Words of the first texts of the built-in data, as if each were a token."""
    from finewright.core.assets import TICKETS

    with (TICKETS / "train.csv").open(encoding="utf-8", newline="") as opened:
        texts = [row["text"] for row, _ in zip(csv.DictReader(opened), range(number), strict=False)]
    return [min(len(text.split()), MOST_TOKENS) for text in texts]


def build(kind: str, *, width: int) -> Any:
    """A narrow random network of an architecture's default config, with the packed attention."""
    import torch
    import transformers

    from finewright.models import architectures, meta, network_class
    from finewright.models.derivation import small_copy
    from finewright.models.dropout import turn_off_dropout

    config = transformers.AutoConfig.for_model(kind)
    sizes = {"WIDTH": width, "VOCABULARY": VOCABULARY, "WINDOW": 64, "MOST_WEIGHTS": 12 * width**2 * 12}
    with mock.patch.multiple(small_copy, **sizes):
        with torch.device("meta"):
            network = network_class.from_config(config, auto_model=network_class.CLASSIFICATION)
        layers = network.get_submodule(architectures.architecture_of(config).layers)
        small = next(small_copy.build_small_copies(config, layers=layers))
    turn_off_dropout(small)
    meta.use_packed_attention(small, architectures.architecture_of(small.config))  # registers it
    return small


def find_stock_attention(network: Any) -> str:
    """PyTorch's fused attention, or the plain one where the architecture has no other."""
    try:
        network.set_attn_implementation("sdpa")
    except ValueError:
        return "eager"
    return "sdpa"


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fastest seconds of a step, packed and padded."""
    import torch

    from finewright.data import packing
    from finewright.models import architectures, forward
    from finewright.models.attention.packed import NAME
    from finewright.models.prepared import PreparedModel

    network = build(kind, width=arguments.width)
    packed = architectures.architecture_of(network.config)
    lengths = text_lengths(arguments.texts)
    drawn = torch.Generator().manual_seed(0)
    ids = [torch.randint(5, VOCABULARY, (length,), generator=drawn).tolist() for length in lengths]
    batch = packing.collate(packing.EncodedSplit(ids, lengths, [0] * len(ids)), range(len(ids)))
    forms = {"packed": packed, "padded": replace(packed, not_packable="to compare")}
    attention = {"packed": NAME, "padded": find_stock_attention(network)}
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(arguments.repeats + 1):
        for name, architecture in forms.items():
            model = PreparedModel(network=network, trainable_module=network, architecture=architecture)
            network.set_attn_implementation(attention[name])
            began = time.process_time()
            forward.compute_logits(model, batch.ids, batch.layout, None).sum().backward()
            seconds[name].append(time.process_time() - began)
            network.zero_grad()
    fastest = {name: min(values[1:]) for name, values in seconds.items()}
    return {"model_type": kind, **fastest, "ratio": fastest["padded"] / fastest["packed"]}


def main() -> None:
    """The command."""
    import torch

    from finewright.models import architectures

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = [one["model_type"] for one in architectures.describe_architectures() if one["batches"] == "packed"]
    print("| model_type | packed, ms | padded, ms | padded / packed |\n|---|---|---|---|")
    for kind in arguments.only.split(",") if arguments.only else kinds:
        try:
            found = measure(kind, arguments)
        except Exception as error:  # one type must not hide the others; it is named
            print(f"| {kind} | failed: {type(error).__name__}: {error} |", flush=True)
            continue
        if arguments.out:
            append_line(arguments.out, found)
        print(f"| {kind} | {1e3 * found['packed']:.1f} | {1e3 * found['padded']:.1f} | {found['ratio']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
