"""Trace work on tensors without memory, and count what would have been alive.

The tensors are fake (shapes and dtypes, no values), so a model of any size is traced in seconds from its config alone.
"""

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from finewright.models import torch_compat
from finewright.models.attention import tracing

FakeTensor, FakeTensorMode, in_kernel_invocation_manager = torch_compat.fake_tensor_types()
_DispatchMode: Any = torch_compat.dispatch_mode_type()


def _find_operators(names: str) -> frozenset[Any]:
    """The operators of these names that this PyTorch has; without one of them, tracing is slower and gives the same."""
    found = (torch_compat.find_operator(f"aten.{name}") for name in names.split())
    return frozenset(one for one in found if one is not None)


_NAMES = """clone.default _to_copy.default zeros_like.default cat.default mm.default bmm.default addmm.default linear.default
add.Tensor sub.Tensor mul.Tensor div.Tensor sum.dim_IntList gelu.default gelu_backward.default silu.default softmax.int
_softmax.default _softmax_backward_data.default layer_norm.default native_layer_norm.default
native_layer_norm_backward.default"""
MAKE_ANEW = _find_operators(_NAMES)
"""Operations whose output shares no memory with the inputs, and has a shape that depends on shapes, dtypes and plain values
alone."""

ALIGNMENT = 64
"""Bytes to which an allocator rounds up a tensor (CPU; CUDA's caching allocator uses 512)."""
BATCHED = " batched"
"""Suffix of a dtype for many small products at once, such as attention's, which are much slower than one large one."""
_VIEWS = ("view", "as_strided", "transpose", "expand", "permute", "slice", "select", "split", "detach", "alias", "unsqueeze", "t")
_CURVED = ("gelu", "silu", "tanh", "exp", "softmax", "log_softmax", "sigmoid", "pow", "native_layer_norm", "native_dropout")
_PLAIN = """view.default transpose.int t.default expand.default permute.default slice.Tensor select.int unsqueeze.default
split.Tensor split_with_sizes.default unflatten.int detach.default reshape.default _unsafe_view.default to.dtype mul_.Tensor"""
_FAST_ON_META = MAKE_ANEW | _find_operators(_PLAIN)
"""Operations for which PyTorch's kernels for the meta device give the right shape without FakeTensorMode's checks."""
_ATTENTION = torch_compat.flash_attention_operators()
"""One kernel for many texts, forward and backward; empty if this PyTorch has none: then no plan uses it."""
_READ_NUMBER = torch_compat.find_operator("aten._local_scalar_dense.default")


def _attention_flops(query: Any, key: Any, value: Any, ends: Any, *more: Any, products: int = 2, **_: Any) -> int:
    """Return the FLOPs of attention over many texts. Fake tensors do not say where texts end: each counts as of mean length.

    The queries are the last tokens of their text: under a causal mask a query does not see, on average, half of them.
    """
    (_, _, _, _, causal), (num_queries, num_heads, width) = more[:5], query.shape
    num_keys = (key.shape[0] - (num_queries / 2 if causal else 0)) / (len(ends) - 1)
    return round(2 * products * num_queries * num_keys * num_heads * width)


def _attention_back_flops(given: Any, query: Any, key: Any, value: Any, seen: Any, sums: Any, *more: Any, **_: Any) -> int:
    return _attention_flops(query, key, value, *more, products=5)


# without gradients a linear layer stays one operation, whose FLOPs PyTorch does not know
_FLOPS = {
    **flop_registry,
    torch.ops.aten.linear: lambda states, weight, *_, **__: 2 * states.numel() * weight.shape[0],
    **dict(zip(_ATTENTION, (_attention_flops, _attention_back_flops), strict=False)),
}
_BATCHED = (torch.ops.aten.bmm, torch.ops.aten.baddbmm, *_ATTENTION)
_CPU = torch.device("cpu")


@dataclass
class Work:
    """Operations of one traced piece of work. `matmul_flops`: by dtype, BATCHED ones apart. `moved_bytes`: read and written.
    `curved_numbers`: values of exponentials and the like, which take as long in any dtype; `tanh_numbers`: of GELU by tanh, which
    takes longer. `num_shapes`: different shapes of bfloat16 products, since oneDNN compiles code for each."""

    matmul_flops: Counter[str] = field(default_factory=Counter)
    moved_bytes: int = 0
    curved_numbers: int = 0
    num_operations: int = 0
    num_shapes: int = 0
    tanh_numbers: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add counted as two."""
        return sum(self.matmul_flops.values())

    def plus(self, other: "Work", times: float = 1) -> "Work":
        """Return this work and `times` times the other one."""
        flops = Counter(self.matmul_flops)
        for dtype, count in other.matmul_flops.items():
            flops[dtype] += round(times * count)
        return Work(
            flops,
            self.moved_bytes + round(times * other.moved_bytes),
            self.curved_numbers + round(times * other.curved_numbers),
            self.num_operations + round(times * other.num_operations),
            self.num_shapes + round(times * other.num_shapes),
            self.tanh_numbers + round(times * other.tanh_numbers),
        )


@dataclass(frozen=True)
class Segment:
    """A segment between two marks, `start` and `stop`, that happens `times` more than it was traced.

    Its neighbours, from `approach` to `start` and from `stop` to `horizon`, are like it and free what it made.
    """

    approach: int
    start: int
    stop: int
    horizon: int
    times: int


class MemoryTracer(_DispatchMode):
    """Counts live storages and operations. `fakes`: the mode that makes tensors without memory."""

    def __init__(self, fakes: Any = None) -> None:
        super().__init__()
        self._fakes, self._outputs = fakes or FakeTensorMode(), MetaOpCache()
        self.alive: set[int] = set()
        self.sizes: list[int] = []
        self.events: list[tuple[int, int]] = []
        self.work = Work()
        self._shapes: set[tuple[Any, ...]] = set()
        self._marks: list[tuple[int, Work]] = []
        self._numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and disabling the compiler takes longer than most operations."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        if func is torch.ops.prim.device.default:  # every second call, and no work
            return args[0].fake_device
        kwargs = kwargs or {}
        if func is _READ_NUMBER:
            return True if args[0].dtype == torch.bool else 1.0 if args[0].is_floating_point() else 1
        inputs = [*_tensors(args), *_tensors(kwargs.values())]
        made = self._run(func, args, kwargs, inputs)
        outputs = [*_tensors((made,))]
        for tensor in outputs:
            self.number(tensor)
        self._count(func, args, kwargs, made, inputs, outputs)
        return made

    def _run(self, func: Any, args: Any, kwargs: Any, inputs: list[torch.Tensor]) -> Any:
        """Return the output of an operation. Most take a short cut, for FakeTensorMode takes ten times as long."""
        if func not in _FAST_ON_META or kwargs.get("device") is not None or not all(type(one) is FakeTensor for one in inputs):
            return func(*args, **kwargs)
        with in_kernel_invocation_manager(self._fakes):
            made = self._outputs.of(func, args, kwargs)
        return self._faked(made)

    def _faked(self, made: Any) -> Any:
        if isinstance(made, (tuple, list)):
            return type(made)(map(self._faked, made))
        return FakeTensor(self._fakes, made, _CPU) if type(made) is torch.Tensor else made

    def fake(self, like: torch.Tensor) -> torch.Tensor:
        """Return a fake tensor of another one's shape and dtype."""
        with in_kernel_invocation_manager(self._fakes):
            made = torch.empty(like.shape, dtype=like.dtype, device="meta")
        return self._faked(made)

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's storage. A storage seen for the first time is alive from now on."""
        storage = tensor.untyped_storage()
        if storage not in self._numbers:
            number = self._numbers[storage] = len(self.sizes)
            self.sizes.append(math.ceil(storage.nbytes() / ALIGNMENT) * ALIGNMENT)
            self.events.append((1, number))
            self.alive.add(number)
            weakref.finalize(storage, self._end, number)
        return self._numbers[storage]

    def _end(self, number: int) -> None:
        self.events.append((-1, number))
        self.alive.discard(number)

    def _count(self, func: Any, args: Any, kwargs: Any, made: Any, inputs: Any, outputs: Any) -> None:
        name = func.overloadpacket.__name__
        if name in _VIEWS or name.startswith("_unsafe_view"):
            return
        self.work.num_operations += 1
        moved = sum(tensor.numel() * tensor.element_size() for tensor in [*inputs, *outputs])
        count = _FLOPS.get(func.overloadpacket)
        if count is not None:
            dtype = str(outputs[0].dtype).removeprefix("torch.") + (BATCHED if func.overloadpacket in _BATCHED else "")
            self.work.matmul_flops[dtype] += count(*args, **kwargs, out_val=made)
            self.work.moved_bytes += moved  # a thin product, such as an adapter's, waits for memory
            self._see_shape(name, dtype, *(tensor.shape for tensor in inputs))
            return
        if name.removesuffix("_backward").strip("_") in _CURVED:
            count = max(tensor.numel() for tensor in [*inputs, *outputs])
            if kwargs.get("approximate") == "tanh":
                self.work.tanh_numbers += count
            else:
                self.work.curved_numbers += count
        else:
            self.work.moved_bytes += moved

    def _see_shape(self, name: str, dtype: str, *shapes: torch.Size) -> None:
        if dtype == "bfloat16" and (name, *shapes) not in self._shapes:
            self._shapes.add((name, *shapes))
            self.work.num_shapes += 1

    def begin_anew(self) -> None:
        """Restart the count: peak and work are of what is alive now and of what follows."""
        self.events = [(1, number) for number in sorted(self.alive)]
        self.work, self._marks, self._shapes = Work(), [], set()

    def mark(self) -> int:
        """Record this moment and return its number."""
        self._marks.append((len(self.events), Work().plus(self.work)))
        return len(self._marks) - 1

    def work_since(self, mark: int) -> Work:
        """Return the work since a mark."""
        return self.work.plus(self._marks[mark][1], -1)

    def stretch(self) -> Callable[[float], None]:
        """Begin a stretch. Call the result at its end with how many more times it happens; that adds no shapes of products."""
        begun = self.mark()

        def again(times: float) -> None:
            since = self.work_since(begun)
            since.num_shapes = 0
            self.work = self.work.plus(since, times)

        return again

    def work_with_repeats(self, segments: Sequence[Segment]) -> Work:
        """Return all work, with the segments as often as they happen."""
        total = self.work
        for segment in segments:
            total = total.plus(self._marks[segment.stop][1], segment.times).plus(self._marks[segment.start][1], -segment.times)
        return total

    def peak(
        self,
        kinds: dict[str, set[int]],
        *,
        rest: str,
        segments: Sequence[Segment] = (),
        more: Sequence[tuple[int, str, int]] = (),
    ) -> dict[str, int]:
        """Return bytes by kind at the moment of the largest sum. Storages in none of `kinds` count as `rest`.

        `segments`: happen more often than they were traced. `more`: (storage, kind, times) in memory beyond what was traced.
        """
        timeline = MemoryTimeline([*kinds, rest])
        kind_of = {number: kind for kind, numbers in kinds.items() for number in numbers}
        for number, kind, times in more:
            timeline.add(kind, times * self.sizes[number])
        # What is made in a segment and freed far from any, such as a gradient, is freed as often as it was made.
        born: dict[int, int] = {}
        openings = {self._marks[segment.start][0] for segment in segments}
        closings = {self._marks[segment.stop][0]: segment.times for segment in segments}
        inside, near = {}, set[int]()
        for one in segments:
            inside |= dict.fromkeys(range(self._marks[one.start][0], self._marks[one.stop][0]), one.times)
            near |= set(range(self._marks[one.approach][0], self._marks[one.horizon][0]))
        for place, (sign, number) in enumerate([*self.events, (0, 0)]):
            if place in closings:
                timeline.repeat(closings[place])
            if place in openings:
                timeline.open()
            times = 1
            if sign > 0 and place in inside:
                born[number] = inside[place]
            elif sign < 0 and place not in near:
                times += born.get(number, 0)
            timeline.add(kind_of.get(number, rest), times * sign * self.sizes[number] if sign else 0)
        return timeline.best


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """Yield all tensors in the inputs or outputs of an operation: values, and lists of values."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


@contextmanager
def without_memory() -> Iterator[MemoryTracer]:
    """Inside, every new tensor is fake and every operation is counted."""
    with FakeTensorMode() as fakes, MemoryTracer(fakes) as tracer, tracing.representing(tracer.stretch):
        yield tracer


def give_shapes(module: torch.nn.Module, tracer: MemoryTracer) -> dict[int, torch.nn.Parameter]:
    """Replace a module's meta tensors by fake ones, shared ones shared. Return new parameters by the ids of the old ones.

    Call it inside `without_memory`. The module is built and prepared on the meta device, because PyTorch cannot cast or move
    a module whose parameters are fake.
    """
    made: dict[int, Any] = {}
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False, remove_duplicate=False)):
            if id(parameter) not in made:
                made[id(parameter)] = torch.nn.Parameter(tracer.fake(parameter), requires_grad=parameter.requires_grad)
            setattr(part, name, made[id(parameter)])
        for name, buffer in list(part.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(part, name, tracer.fake(buffer))
    return made


class MetaOpCache:
    """Outputs of operations seen so far, as shape, strides and dtype of each tensor."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def of(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return the output of an operation on tensors of the meta device."""
        if func not in MAKE_ANEW:
            return func(*args, **kwargs)
        key = func, _outline(args), _outline(tuple(kwargs.items()))
        if key in self._known:
            return _made(self._known[key])
        output = func(*args, **kwargs)
        self._known[key] = _outline(output)
        return output


def _outline(value: Any) -> Any:
    """Return all that an output can depend on, comparable; the type of a number too, since it decides a dtype."""
    if isinstance(value, torch.Tensor):
        return _Outline((value.shape, value.stride(), value.dtype))
    if isinstance(value, (tuple, list)):
        return tuple(map(_outline, value))
    return type(value), value


class _Outline(tuple[Any, ...]):
    """Shape, strides and dtype of a tensor; a type of its own, to tell it from a list of values."""

    __slots__ = ()


def _made(outline: Any) -> Any:
    """Return new tensors of an output, None for one that the operation left out."""
    if isinstance(outline, _Outline):
        shape, strides, dtype = outline
        return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
    if outline == (type(None), None):
        return None
    return tuple(map(_made, outline))


class MemoryTimeline:
    """Bytes by kind over time, and the moment of their largest sum."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.now = dict.fromkeys(kinds, 0)
        self.best = dict(self.now)
        self._at_open = dict(self.now)
        self._best_since: dict[str, int] | None = None

    def add(self, kind: str, count: int) -> None:
        self.now[kind] += count
        if sum(self.now.values()) > sum(self.best.values()):
            self.best = dict(self.now)
        if self._best_since is not None and sum(self.now.values()) > sum(self._best_since.values()):
            self._best_since = dict(self.now)

    def open(self) -> None:
        """Begin a segment that may be repeated."""
        self._at_open, self._best_since = dict(self.now), dict(self.now)

    def repeat(self, times: int) -> None:
        """Repeat the segment since `open` `times` more. Each adds what it left behind, so the first or last is the largest."""
        assert self._best_since is not None, "a segment is opened before it is repeated"
        left = {kind: self.now[kind] - self._at_open[kind] for kind in self.now}
        for number in (1, times):
            moment = {kind: self._best_since[kind] + number * left[kind] for kind in self.now}
            if sum(moment.values()) > sum(self.best.values()):
                self.best = moment
        self.now = {kind: self.now[kind] + times * left[kind] for kind in self.now}
        self._best_since = None
