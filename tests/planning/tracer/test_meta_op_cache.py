"""The output of an operation seen before is reused, and is the same."""

import pytest
import torch

from finewright.planning.tracer import memory

ADD, WHOLE = torch.ops.aten.add.Tensor, torch.int64


def some(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def outline(made):
    made = made if isinstance(made, tuple) else (made,)
    return [one if one is None else (one.shape, one.stride(), one.dtype, one.device.type) for one in made]


@pytest.mark.parametrize(
    ("name", "given", "options"),
    [
        ("add.Tensor", (some(4, 6), some(6, 4).T), {}),
        ("clone.default", (some(6, 4).T,), {"memory_format": torch.contiguous_format}),
        ("zeros_like.default", (some(6, 4).T,), {"dtype": torch.float64}),
        ("cat.default", ([some(4, 6), some(4, 6)], 1), {}),
        ("native_layer_norm.default", (some(4, 6), [6], some(6), some(6), 1e-5), {}),
        (
            "native_layer_norm_backward.default",
            (some(4, 6), some(4, 6), [6], some(4, 1), some(4, 1), some(6), some(6), [True, False, False]),
            {},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_second_answer_is_the_first_made_anew(name, given, options, monkeypatch):
    packet, overload = name.split(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload)
    asked = []

    def ask(*given, **options):
        asked.append(name)
        return operation(*given, **options)

    monkeypatch.setattr(memory, "MAKE_ANEW", {ask})
    known = memory.MetaOpCache()
    first, second = (known.of(ask, given, options) for _ in range(2))
    assert asked == [name]
    assert outline(first) == outline(second) == outline(operation(*given, **options))
    assert first is not second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((some(4, 6), 1.0), (some(4, 6, dtype=WHOLE), 1.0)),
        ((some(4, 6), 1), (some(6, 4).T, 1)),
        ((some(4, 6, dtype=WHOLE), 1), (some(4, 6, dtype=WHOLE), 1.0)),
        ((some(4, 6), some(4, 6)), (some(4, 6), some(6))),
    ],
    ids=["another dtype", "other strides", "a number of another type", "another second"],
)
def test_what_differs_is_asked_for_itself(one, other):
    known = memory.MetaOpCache()
    assert outline(known.of(ADD, one, {})) == outline(ADD(*one))
    assert outline(known.of(ADD, other, {})) == outline(ADD(*other))


def test_a_view_is_always_asked_for():
    """Its storage is that of what is looked at."""
    states, view = some(4, 6), torch.ops.aten.view.default
    known = memory.MetaOpCache()
    storages = {known.of(view, (states, [24]), {}).untyped_storage()._cdata for _ in range(2)}
    assert storages == {states.untyped_storage()._cdata}


def test_nothing_that_makes_anew_hands_on_what_it_was_given():
    states = some(4, 4)
    for name in ("clone", "_to_copy", "zeros_like", "gelu", "silu"):
        operation = getattr(torch.ops.aten, name).default
        assert operation in memory.MAKE_ANEW
        assert operation(states).untyped_storage()._cdata != states.untyped_storage()._cdata
