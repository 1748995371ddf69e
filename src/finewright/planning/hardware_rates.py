"""Rates of this machine: matrix products, memory, and the cost of one operation, measured in a second."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch

from finewright.core import hardware
from finewright.data.layout import PackedLayout
from finewright.models import kernels
from finewright.models.attention import packed
from finewright.planning.tracer.memory import BATCHED, MemoryTracer, Work

SECONDS_PER_RATE = 0.03
LARGEST_TOKENS, LARGEST_PRODUCT_FLOPS, LARGEST_STATE = 512, 500_000_000, 1_000_000
"""Most rows, FLOPs and values (4 MB) of what is measured: larger ones are no faster and take long."""
BATCH = (64, 32, 64)
"""Attention products measured at once, tokens of a text, width of a head."""
BEYOND_CACHES_BYTES, MOST_STATES, NUM_WEIGHTS = 64_000_000, 32, 4
"""As in a network, where the next product has other inputs and another weight, which come from memory."""
NEW_SHAPES, NEW_ROWS, NEW_WIDTH = 5, 331, 256
"""Products of new shapes, small enough to be quick on any processor."""
GAIN_WIDTH, GAIN_TOKENS, SECONDS_PER_GAIN, LEAST_PAIRS = 256, 512, 0.1, 5
"""The layer in which several threads are compared with one, and how long."""
SHAPES_KEPT = 1024
"""Products whose code oneDNN caches, unless ONEDNN_PRIMITIVE_CACHE_CAPACITY says otherwise."""
FEW_TEXTS, FEW_WIDTH, FEW_HEADS = (1, 2, 3), 16, 2
"""Tokens of each text, width and heads: so few that a layer takes the fixed cost of its operations."""

USUAL_TEXT, USUAL_HEAD, MOST_WIDTH, NUM_LAYERS, SECONDS_TOGETHER = 32, 64, 1024, 3, 0.15
"""Of the layers that are measured as a whole: tokens of each text, width of a head, most width, how many, and for how long."""
FEWEST_TOKENS, MOST_TOGETHER = 256, 2.0
"""With fewer tokens, or below the width of a head, the fixed cost of operations hides what is compared. Most that is believed."""


@dataclass(frozen=True)
class HardwareRates:
    """`flops_per_second`: of matrix products, by dtype. `bytes_per_second`: of copies and sums. `curved_per_second`: values of
    exponentials and the like; `tanh_per_second`: of GELU by tanh, 0 if it is no slower. `operation_seconds`: fixed cost of an
    operation, with autograd's. `shape_seconds`: what the first bfloat16 product of a shape takes longer, which is not part of
    `seconds`. `together`: how many times as long the parts of a layer take one after the other as each of them again and again,
    with its code and states in the processor's caches.
    """

    flops_per_second: dict[str, float]
    bytes_per_second: float
    curved_per_second: float
    operation_seconds: float
    shape_seconds: float
    together: float = 1.0
    tanh_per_second: float = 0.0

    def seconds(self, work: Work) -> float:
        """Return the time for some work: that of its parts, since a CPU does one after the other."""
        slowest = min(self.flops_per_second.values())
        products = sum(count / self.flops_per_second.get(dtype, slowest) for dtype, count in work.matmul_flops.items())
        others = work.moved_bytes / self.bytes_per_second + work.curved_numbers / self.curved_per_second
        others += work.tanh_numbers / (self.tanh_per_second or self.curved_per_second)
        return self.together * (products + others) + work.num_operations * self.operation_seconds


def measure_rates(tokens: int, *, device: str, width: int) -> HardwareRates:
    """Measure rates at the shapes of training: `tokens` rows, matrices of `width` to four times `width`.

    Of large shapes a part is measured that is large enough to be as fast as the whole.
    """
    return _measure(min(tokens, LARGEST_TOKENS), device=device, width=width)


@cache
def _measure(tokens: int, *, device: str, width: int) -> HardwareRates:
    operation = _operation_seconds(device)
    with torch.inference_mode():
        products = {name: _product_rate(name, device=device, tokens=tokens, width=width) for name in ("float32", "bfloat16")}
        products |= {name + BATCHED: _batched_rate(name, device=device) for name in products}
        states = _ring(tokens, 4 * width, device=device)
        pairs, number = list(zip(states[::2], states[1::2], strict=False)), states[0].numel()
        # into allocated memory: to get new memory takes five times as long, and happens in the first step alone
        sums = [partial(torch.mul, one, 0.5, out=other) for one, other in pairs]
        moved = 2 * number * states[0].element_size() / _seconds(sums, device=device)
        curves = (partial(torch.ops.aten.gelu.out, approximate=kind) for kind in ("none", "tanh"))
        curved, tanh = (
            number / _seconds([partial(curve, one, out=other) for one, other in pairs], device=device) for curve in curves
        )
        rates = HardwareRates(products, moved, curved, operation, _shape_seconds(device), tanh_per_second=tanh)
    return replace(rates, together=_compare_together(rates, tokens, width=width)) if device == "cpu" else rates


class _Layer(torch.nn.Module):
    """A typical layer: frozen matrices, attention over several lengths, residual sums, of the very parts that run in training."""

    is_causal = True

    def __init__(self, width: int = FEW_WIDTH, *, num_heads: int = FEW_HEADS, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        linear, self._num_heads = torch.nn.Linear, num_heads
        self.before = torch.nn.Sequential(torch.nn.LayerNorm(width), linear(width, 3 * width))
        self.after = linear(width, width)
        gelu = torch.nn.GELU(approximate="tanh")
        self.above = torch.nn.Sequential(torch.nn.LayerNorm(width), linear(width, 4 * width), gelu, linear(4 * width, width))
        self.requires_grad_(requires_grad=False)
        for module in self.modules():
            if isinstance(module, linear):
                module.to(dtype)
        for module in filter(kernels.is_packable, self.modules()):
            kernels.pack(module)

    def forward(self, states: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        q, k, v = (one.unflatten(-1, (self._num_heads, -1)).transpose(1, 2) for one in self.before(states).chunk(3, dim=-1))
        attended, _ = packed.packed_attention(self, q, k, v, None, layout=layout)
        states = states + self.after(attended.flatten(2))
        return states + self.above(states)


def _operation_seconds(device: str) -> float:
    """Return the time of one tiny operation, with Python, autograd and views, forward and backward."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        layer, layout = _Layer(), PackedLayout(FEW_TEXTS)
        few = torch.zeros(1, sum(FEW_TEXTS), FEW_WIDTH, requires_grad=True)

    def forward_backward() -> torch.Tensor:
        return torch.autograd.grad(layer(few, layout).sum(), few)[0]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on so little work several threads would only wait for each other
    try:
        forward_backward()  # masks are made once for all layers
        with MemoryTracer() as tracer:  # the tensors are real: this counts operations as a plan does
            forward_backward()
        return _seconds([forward_backward], device=device) / tracer.work.num_operations
    finally:
        torch.set_num_threads(threads)


def _compare_together(rates: HardwareRates, tokens: int, *, width: int) -> float:
    """Return how many times as long some layers take, forward and backward, as their parts at these rates; at least once."""
    if tokens < FEWEST_TOKENS or width < USUAL_HEAD:
        return 1.0
    width = min(width, MOST_WIDTH) // USUAL_HEAD * USUAL_HEAD
    bfloat16 = hardware.describe_cpu().fast_bfloat16
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    layout = PackedLayout((USUAL_TEXT,) * (tokens // USUAL_TEXT))
    with torch.random.fork_rng(devices=[]):
        layers = [_Layer(width, num_heads=width // USUAL_HEAD, dtype=dtype) for _ in range(NUM_LAYERS)]
    states = torch.full((1, sum(layout.lengths), width), 0.3, requires_grad=True)

    def forward_backward() -> torch.Tensor:
        above = states
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            for layer in layers:
                above = layer(above, layout)
        return torch.autograd.grad(above.float().sum(), states)[0]

    forward_backward()
    with MemoryTracer() as tracer:
        forward_backward()
    took = _seconds([forward_backward], device="cpu", least=SECONDS_TOGETHER)
    fixed = tracer.work.num_operations * rates.operation_seconds
    return min(MOST_TOGETHER, max(1.0, (took - fixed) / (rates.seconds(tracer.work) - fixed)))


@cache
def measure_thread_gain(threads: int) -> float:
    """Return how many times as fast as one thread so many are just now, in a small layer, taken in turn; once in a process.

    On an idle machine they are faster. Where other programs use the cores, each product waits for a thread that does not run.
    """
    weight, states = _some(4 * GAIN_WIDTH, GAIN_WIDTH, device="cpu"), _some(GAIN_TOKENS, GAIN_WIDTH, device="cpu")
    before, found = torch.get_num_threads(), dict[int, list[float]]({1: [], threads: []})
    until = time.perf_counter() + SECONDS_PER_GAIN
    try:
        while len(found[1]) < LEAST_PAIRS + 1 or time.perf_counter() < until:
            for count, seconds in found.items():
                torch.set_num_threads(count)
                seconds.append(_timed(partial(torch.nn.functional.linear, states, weight), device="cpu")[0])
    finally:
        torch.set_num_threads(before)
    one, several = (statistics.fmean(seconds[1:]) for seconds in found.values())  # the first of each starts the threads
    return one / several


def _ring(rows: int, columns: int, *, device: str) -> list[torch.Tensor]:
    """Return so many tensors that the processor's caches do not hold them, as in a network."""
    columns = max(1, min(columns, LARGEST_STATE // rows))
    number = max(2, min(MOST_STATES, -(-BEYOND_CACHES_BYTES // (4 * rows * columns))))
    return [_some(rows, columns, device=device) for _ in range(number)]


def _some(*shape: int, device: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor of ordinary values; drawing random ones would take longer than what is measured."""
    return torch.full(shape, 0.3, device=device, dtype=dtype)


def _product_rate(name: str, *, device: str, tokens: int, width: int) -> float:
    """Return the FLOPs per second of products with a weight, half of them as in forward and half as in backward."""
    rows = min(4 * width, max(min(width // 4, LARGEST_TOKENS), LARGEST_PRODUCT_FLOPS // (2 * tokens * width)))
    some = partial(_some, device=device, dtype=getattr(torch, name))
    forward: list[Callable[[], torch.Tensor]] = []
    backward: list[Callable[[], torch.Tensor]] = []
    for weight in (some(rows, width) for _ in range(NUM_WEIGHTS)):
        forward.append(partial(torch.nn.functional.linear, some(tokens, width), weight))
        backward.append(partial(torch.mm, some(tokens, rows), weight))
    return 4 * tokens * width * rows / (_seconds(forward, device=device) + _seconds(backward, device=device))


@cache
def _shape_seconds(device: str) -> float:
    """Return how much longer the first product of a new shape takes; measured once in a process."""
    weight = _some(NEW_WIDTH, NEW_WIDTH, device=device, dtype=torch.bfloat16)
    longer = []
    for more in range(NEW_SHAPES):
        states = _some(NEW_ROWS + more, NEW_WIDTH, device=device, dtype=torch.bfloat16)
        first, again = (_timed(partial(torch.nn.functional.linear, states, weight), device=device) for _ in range(2))
        longer.append(first[0] - again[0])
    return max(0.0, statistics.median(longer))


def _batched_rate(name: str, *, device: str) -> float:
    """Return the FLOPs per second of attention over short texts."""
    count, length, head = BATCH
    some = _some(count, length, head, device=device, dtype=getattr(torch, name))
    return 2 * count * length * length * head / _seconds([lambda: torch.bmm(some, some.transpose(1, 2))], device=device)


def _seconds(runs: Sequence[Callable[[], torch.Tensor]], *, device: str, least: float = SECONDS_PER_RATE) -> float:
    """Return the median time of a call, made in turn for so long. The latest output of each stays in memory, as in a step.

    The first turn does not count: it compiles and allocates.
    """
    kept = [run() for run in runs]
    found: list[float] = []
    until = time.perf_counter() + least
    for place in itertools.cycle(range(len(runs))):
        seconds, kept[place] = _timed(runs[place], device=device)
        found.append(seconds)
        if time.perf_counter() >= until:
            break
    return statistics.median(found)


def _timed(run: Callable[[], torch.Tensor], *, device: str) -> tuple[float, torch.Tensor]:
    """Return the seconds until a call is done, and its result."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    made = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, made
