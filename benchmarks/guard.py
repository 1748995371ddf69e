"""Whether anything became slower: ten short cells as ratios to transformers, against the ratios that were kept.

    python benchmarks/guard.py [--rounds 2] [--only "CELL;CELL"] [--keep]

Each cell runs both programs in turn on one thread; the ratio of their speeds is all that counts, since it depends little on what
else the machine does. A cell whose ratio is more than 15% below the kept one is measured again, and fails if that does not help.
`--keep` writes the ratios of this processor to figures/guard.json; without kept ones of this processor nothing can be compared,
which is said and fails. Run it before changes to training, prediction or generation are merged.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import children
import speed

KEPT = Path(__file__).parent / "figures" / "guard.json"
MOST_LOSS = 0.15
STEPS = 4
FAMILIES = ("bert", "llama", "modernbert")
AT_ONCE = (1, 8)


def measure_step(method: str, store: str) -> float:
    """GPT-2 small on short texts: tokens per CPU-second beside the Trainer in bfloat16, or the pipeline."""
    peer = speed.PIPELINES[1] if method == speed.PREDICT else speed.TRAINERS[1]
    script, words = speed.__file__, ["--steps", str(STEPS), "--cell"]
    ours, theirs = (children.cell(script, [*words, who, method], store=store)["rate"] for who in (speed.FINEWRIGHT, peer))
    return ours / theirs


def measure_family(kind: str, store: str) -> float:
    """A small random network: the time of a padded step by that of a packed one."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as told:
        script = str(Path(__file__).with_name("family_speed.py"))
        children.run([script, "--only", kind, "--out", told.name], store=store)
        return float(json.loads(told.readline())["ratio"])


def measure_generation(number: str, store: str) -> float:
    """The embedded model: tokens per CPU-second of so many answers at once, beside transformers, both in float32."""
    script = str(Path(__file__).with_name("generation.py"))
    programs = ("finewright float32", "transformers float32")
    words = [["--model", "mini", "--cell", program, number] for program in programs]
    ours, theirs = (children.cell(script, one, store=store)["tokens_per_cpu_second"] for one in words)
    return ours / theirs


CELLS: dict[str, tuple[Callable[[str, str], float], str]] = {
    **{f"train, {method}": (measure_step, method) for method in speed.METHODS},
    "predict": (measure_step, speed.PREDICT),
    **{f"packed step, {kind}": (measure_family, kind) for kind in FAMILIES},
    **{f"generate, {number} at once": (measure_generation, str(number)) for number in AT_ONCE},
}


def measure(name: str, *, rounds: int) -> float:
    """The median ratio of some rounds, each with a cache of its own."""
    run, what = CELLS[name]
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as store:
            found.append(run(what, store))
    return statistics.median(found)


def find_slower(ratios: dict[str, float], kept: dict[str, float]) -> list[str]:
    """The cells whose ratio is more than `MOST_LOSS` below the kept one."""
    return [name for name, ratio in ratios.items() if name in kept and ratio < (1 - MOST_LOSS) * kept[name]]


def measure_all(names: list[str], kept: dict[str, float], *, rounds: int) -> dict[str, float]:
    """Measure cells and print them; one that is slower than the kept ratio is measured again."""
    ratios = {}
    for name in names:
        ratios[name] = measure(name, rounds=rounds)
        if find_slower({name: ratios[name]}, kept):
            ratios[name] = max(ratios[name], measure(name, rounds=rounds))
        beside = f", kept {kept[name]:.2f}" if name in kept else ""
        print(f"{name}: {ratios[name]:.2f} times as fast{beside}", flush=True)
    return ratios


def main() -> int:
    """The command."""
    from finewright.core import hardware

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=";".join(CELLS), help="names of cells, with ; between them")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    names = arguments.only.split(";")
    if unknown := [name for name in names if name not in CELLS]:
        parser.error(f"no such cell: {unknown[0]!r}, wanted some of {'; '.join(CELLS)}")
    processor = hardware.describe_cpu().device_name
    figures = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    kept = {} if arguments.keep else figures.get(processor, {})
    ratios = measure_all(names, kept, rounds=arguments.rounds)
    if arguments.keep:
        figures[processor] = figures.get(processor, {}) | {name: round(ratio, 3) for name, ratio in ratios.items()}
        KEPT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        return 0
    if not kept:
        advice = "--keep on the last commit that is known to be fast"
        print(f"no ratios are kept of this processor ({processor}): {advice}", file=sys.stderr)
        return 1
    slower = find_slower(ratios, kept)
    for name in slower:
        print(f"slower: {name}, {ratios[name]:.2f} instead of {kept[name]:.2f}", file=sys.stderr)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
