"""One thread or all: the time of a forward and backward pass through small and large layers, taken in turn, by how threads wait.

    python benchmarks/threads.py [--seconds 1]

OpenMP's threads spin at every barrier by default, and wait in the kernel with OMP_WAIT_POLICY=PASSIVE. Each policy has a
process of its own. A ratio above 1 says that all threads are faster than one. The load beside it is printed.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

SHAPES = ((256, 16), (256, 128), (256, 512), (256, 2048), (768, 16), (768, 128), (768, 512))
"""Width of the layer, tokens of the batch."""
POLICIES = ("ACTIVE", "PASSIVE")
LAYERS, LEAST_PAIRS = 2, 3


def measure(seconds_each: float, *, threads: int) -> list[dict[str, float]]:
    """Return a line for each shape: median seconds with one thread and with all."""
    import torch

    lines = []
    for width, tokens in SHAPES:
        layers = [torch.nn.Sequential(torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width))]
        body = torch.nn.Sequential(*(layers * LAYERS))
        states = torch.full((tokens, width), 0.3, requires_grad=True)
        found: dict[int, list[float]] = {1: [], threads: []}
        until = time.perf_counter() + seconds_each
        for number in itertools.count():
            if number > LEAST_PAIRS and time.perf_counter() > until:
                break
            for count, seconds in found.items():
                torch.set_num_threads(count)
                began = time.perf_counter()
                body(states).sum().backward()
                if number:  # the first of each allocates
                    seconds.append(time.perf_counter() - began)
        one, many = statistics.median(found[1]), statistics.median(found[threads])
        lines.append({"width": width, "tokens": tokens, "one": one, "all": many})
    return lines


def main() -> None:
    """Measure each policy in a process of its own and print the ratios side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each shape")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(measure(given.seconds, threads=given.threads)))
        return
    found = {}
    for policy in POLICIES:
        command = [sys.executable, __file__, "--inside", "--seconds", str(given.seconds), "--threads", str(given.threads)]
        environment = {**os.environ, "OMP_WAIT_POLICY": policy}
        environment.pop("OMP_NUM_THREADS", None)
        found[policy] = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    print(f"{given.threads} threads against one; load {os.getloadavg()[0]:.1f}")
    heads = "".join(f"{policy.lower() + ', one':>16}{'all':>10}{'ratio':>8}" for policy in POLICIES)
    print(f"{'width':>6}{'tokens':>8}{'MFLOPs':>9}{heads}")
    for lines in zip(*found.values(), strict=True):
        width, tokens = lines[0]["width"], lines[0]["tokens"]
        text = f"{width:>6}{tokens:>8}{2 * 4 * width * width * tokens / 1e6:>9.0f}"
        for line in lines:
            text += f"{1e3 * line['one']:>13.2f} ms{1e3 * line['all']:>7.2f} ms{line['one'] / line['all']:>8.2f}"
        print(text)


if __name__ == "__main__":
    main()
