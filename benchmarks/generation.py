"""Generating beside transformers and llama.cpp: tokens per CPU-second, and the most memory.

    python benchmarks/generation.py --model DIR_OR_NAME [--batches 1,8,64] [--new 64] [--rounds 2] [--out FILE.jsonl]
                                    [--llama-cpp FOLDER --gguf FILE]

Every cell is a process with one thread; contestants take turns. Each answers so many prompts of 20 to 60 tokens at once with
`--new` tokens, always the most probable one, and does not stop earlier. The clock runs from the prompts' token ids to the last
token of the answers; loading is not in it. llama.cpp reads the GGUF file as it is, quantised or not, one prompt after the other.
`--llama-cpp`: a folder with the package llama-cpp-python, as it is no part of the environment.
"""

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from children import cell
from finewright_runs import append_line

CONTESTANTS = ("finewright bfloat16", "finewright float32", "transformers bfloat16", "transformers float32", "llama.cpp")
SHORTEST, LONGEST = 20, 60
LOWEST_ID, HIGHEST_ID = 500, 4_000
"""Of the prompts' tokens: ordinary ones in most vocabularies."""


def make_prompts(number: int) -> list[list[int]]:
    """Token ids, the same in every process."""
    draw = random.Random(0)
    return [[draw.randrange(LOWEST_ID, HIGHEST_ID) for _ in range(draw.randint(SHORTEST, LONGEST))] for _ in range(number)]


def measure(call: Any, *, number: int, new: int) -> dict[str, Any]:
    """Run a call that returns the answers' tokens, after a short one that warms up; return tokens per CPU-second and memory."""
    call(2)
    cpu, wall = time.process_time(), time.monotonic()
    answers = call(new)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    assert [len(one) for one in answers] == [new] * number, "every answer has all its tokens"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"tokens_per_cpu_second": number * new / cpu, "wall_seconds": wall, "peak_resident_bytes": peak}


def run_finewright(model: str, prompts: list[list[int]], *, precision: Any) -> Any:
    """Finewright's answers, end tokens ignored."""
    from finewright.inference import generation
    from finewright.inference.language_model import load_language_model

    opened = load_language_model(model, precision=precision)

    def call(new: int) -> list[Any]:
        options = generation.GenerationOptions(max_new_tokens=new)
        how: dict[str, Any] = {"options": options, "end_ids": [], "bfloat16": opened.bfloat16}
        return [one.ids for one in generation.generate_answers(opened.network, opened.tokenizer, prompts, **how)]

    return call


def run_transformers(model: str, prompts: list[list[int]], *, precision: str) -> Any:
    """Answers of transformers' own `generate` to prompts that are padded on the left."""
    import torch
    from transformers import AutoModelForCausalLM

    from finewright.models import hub

    network = AutoModelForCausalLM.from_pretrained(hub.resolve_model(model).path, dtype=getattr(torch, precision)).eval()
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])

    def call(new: int) -> list[Any]:
        lengths = {"max_new_tokens": new, "min_new_tokens": new}
        with torch.inference_mode():
            out = network.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=0, **lengths)
        return out[:, longest:].tolist()

    return call


def run_llama_cpp(gguf: str, prompts: list[list[int]]) -> Any:
    """llama.cpp's answers, one after the other."""
    from llama_cpp import Llama

    model = Llama(gguf, n_ctx=2048, n_threads=1, n_threads_batch=1, verbose=False)

    def answer(ids: list[int], new: int) -> list[int]:
        model.reset()
        return [token for token, _ in zip(model.generate(ids, temp=0.0), range(new), strict=False)]

    return lambda new: [answer(one, new) for one in prompts]


def measure_cell(contestant: str, number: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what one contestant needs, in this process."""
    import torch

    torch.set_num_threads(1)
    program, _, precision = contestant.partition(" ")
    prompts = make_prompts(number)
    if program == "finewright":
        call = run_finewright(arguments.model, prompts, precision=precision)
    elif program == "transformers":
        call = run_transformers(arguments.model, prompts, precision=precision)
    else:
        sys.path.insert(0, arguments.llama_cpp)
        call = run_llama_cpp(arguments.gguf, prompts)
    return {"contestant": contestant, "answers": number, "new": arguments.new} | measure(call, number=number, new=arguments.new)


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print medians as Markdown."""
    numbers = sorted({line["answers"] for line in lines})
    print("| program | " + " | ".join(f"{number} at once" for number in numbers) + " | resident MB, most at once |")
    print("|---" * (len(numbers) + 2) + "|")
    for contestant in dict.fromkeys(line["contestant"] for line in lines):
        own = [line for line in lines if line["contestant"] == contestant]
        speeds = {number: [line["tokens_per_cpu_second"] for line in own if line["answers"] == number] for number in numbers}
        shown = [f"{statistics.median(found):,.0f}" if found else "" for found in speeds.values()]
        memory = max(line["peak_resident_bytes"] for line in own) / 1e6
        print(f"| {contestant} | {' | '.join(shown)} | {memory:,.0f} |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batches", default="1,8,64")
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("generation.jsonl"))
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--llama-cpp", default="")
    parser.add_argument("--gguf", default="")
    parser.add_argument("--cell", nargs=2, metavar=("CONTESTANT", "NUMBER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(measure_cell(arguments.cell[0], int(arguments.cell[1]), arguments)))
        return
    contestants = [one for one in arguments.contestants.split(",") if one != "llama.cpp" or arguments.llama_cpp]
    lines = []
    with tempfile.TemporaryDirectory() as store:
        for _ in range(arguments.rounds):
            for number in arguments.batches.split(","):
                for contestant in contestants:
                    words = ["--model", arguments.model, "--new", str(arguments.new)]
                    words += ["--llama-cpp", arguments.llama_cpp, "--gguf", arguments.gguf, "--cell", contestant, number]
                    lines.append(cell(__file__, words, store=store))
                    append_line(arguments.out, lines[-1])
    print_table(lines)


if __name__ == "__main__":
    main()
