"""How fast this machine is: matrix products, memory, and the cost of one operation; measured in about a second."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from finewright.trace import BATCHED, Work

SECONDS_PER_RATE = 0.15
LARGEST_TOKENS, LARGEST_PRODUCT_FLOPS = 512, 4_000_000_000
BATCH = (64, 32, 64)
"""Products of attention measured at once, tokens of a text, width of a head."""
BEYOND_CACHES_BYTES, MOST_STATES = 64_000_000, 32


@dataclass(frozen=True)
class Rates:
    """`flops_per_second` of matrix products by dtype; `bytes_per_second` of copies and sums, `curved_bytes_per_second` of
    exponentials and the like; `operation_seconds`: fixed cost of any."""

    flops_per_second: dict[str, float]
    bytes_per_second: float
    curved_bytes_per_second: float
    operation_seconds: float

    def seconds(self, work: Work) -> float:
        """Time for some work: the sum of its parts, since a CPU does one after the other."""
        slowest = min(self.flops_per_second.values())
        products = sum(count / self.flops_per_second.get(dtype, slowest) for dtype, count in work.matmul_flops.items())
        moved = work.moved_bytes / self.bytes_per_second + work.curved_bytes / self.curved_bytes_per_second
        return products + moved + work.num_operations * self.operation_seconds


@cache
def measure(tokens: int, *, device: str, width: int) -> Rates:
    """Rates at the shapes that training will have: `tokens` rows, matrices of `width` to four times `width`.

    Of large shapes a part is measured, large enough to be as fast as the whole.
    """
    tokens = min(tokens, LARGEST_TOKENS)
    with torch.inference_mode():
        products = {name: _product_rate(name, device=device, tokens=tokens, width=width) for name in ("float32", "bfloat16")}
        products |= {name + BATCHED: _batched_rate(name, device=device) for name in products}
        states = _ring(tokens, 4 * width, device=device)
        gelu, num_bytes = torch.nn.functional.gelu, 2 * states[0].numel() * states[0].element_size()
        moved = num_bytes / _seconds([lambda state=state: state.mul(0.5) for state in states], device=device)
        curved = num_bytes / _seconds([lambda state=state: gelu(state, approximate="tanh") for state in states], device=device)
        few = torch.zeros(8, device=device)
        operation = _seconds([lambda: few.add(1.0)], device=device)
    return Rates(products, moved, curved, operation)


def _ring(rows: int, columns: int, *, device: str) -> list[torch.Tensor]:
    """So many states that the processor's caches do not hold them: a network's states are not met again soon either."""
    number = max(2, min(MOST_STATES, -(-BEYOND_CACHES_BYTES // (4 * rows * columns))))
    return [torch.randn(rows, columns, device=device) for _ in range(number)]


def _product_rate(name: str, *, device: str, tokens: int, width: int) -> float:
    rows = min(4 * width, max(width // 4, LARGEST_PRODUCT_FLOPS // (2 * tokens * width)))
    states = torch.randn(tokens, width, device=device).to(getattr(torch, name))
    weight = torch.randn(rows, width, device=device).to(getattr(torch, name))
    return 2 * tokens * width * rows / _seconds([lambda: torch.nn.functional.linear(states, weight)], device=device)


def _batched_rate(name: str, *, device: str) -> float:
    """Of attention over short texts."""
    count, length, head = BATCH
    some = torch.randn(count, length, head, device=device).to(getattr(torch, name))
    return 2 * count * length * length * head / _seconds([lambda: torch.bmm(some, some.transpose(1, 2))], device=device)


def _seconds(runs: Sequence[Callable[[], torch.Tensor]], *, device: str) -> float:
    """Median time of a call, the calls made in turn; what came of the latest of each is kept, as a step keeps it."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    kept, found = [run() for run in runs], []
    wait()
    until = time.perf_counter() + SECONDS_PER_RATE
    while not found or time.perf_counter() < until:
        for place, run in enumerate(runs):
            began = time.perf_counter()
            kept[place] = run()
            wait()
            found.append(time.perf_counter() - began)
    return statistics.median(found)
