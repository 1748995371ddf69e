"""How fast this machine is: matrix products, memory, and the cost of one operation; measured in about a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from finewright.trace import Work

SECONDS_PER_RATE = 0.15
LARGEST_TOKENS, LARGEST_PRODUCT_FLOPS = 512, 4_000_000_000


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
        state = torch.randn(tokens, 4 * width, device=device)
        gelu, num_bytes = torch.nn.functional.gelu, 2 * state.numel() * state.element_size()
        moved = num_bytes / _seconds(lambda: state.mul(0.5), device=device)
        curved = num_bytes / _seconds(lambda: gelu(state, approximate="tanh"), device=device)
        few = torch.zeros(8, device=device)
        operation = _seconds(lambda: few.add(1.0), device=device)
    return Rates(products, moved, curved, operation)


def _product_rate(name: str, *, device: str, tokens: int, width: int) -> float:
    rows = min(4 * width, max(width // 4, LARGEST_PRODUCT_FLOPS // (2 * tokens * width)))
    states = torch.randn(tokens, width, device=device).to(getattr(torch, name))
    weight = torch.randn(rows, width, device=device).to(getattr(torch, name))
    return 2 * tokens * width * rows / _seconds(lambda: torch.nn.functional.linear(states, weight), device=device)


def _seconds(run: Callable[[], torch.Tensor], *, device: str) -> float:
    """Least time of one call; the least, because others only ever add to it."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    run()
    wait()
    best, until = float("inf"), time.perf_counter() + SECONDS_PER_RATE
    while time.perf_counter() < until:
        began = time.perf_counter()
        run()
        wait()
        best = min(best, time.perf_counter() - began)
    return best
