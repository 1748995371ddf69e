"""Claims: what holds, what does not, and that no value breaks them."""

import pytest
import torch

from finewright.learn.grading.expectations import Expect, show


@pytest.mark.parametrize(
    ("found", "wanted", "held"),
    [
        (3, 3, True), (3.0, 3, True), (True, 1, False), (torch.tensor(3), 3, True), ([1, 2], (1, 2), True),
        (torch.Size([1, 2]), (1, 2), True), (None, 3, False), ("a", "a", True),
        (torch.ones(2), 1, False), ((1, (2,)), [1, [2]], True),
    ],
)  # fmt: skip
def test_equal(found, wanted, held):
    expect = Expect()
    assert expect.equal("x", found, wanted) is held
    assert expect.claims[0].ok is held


@pytest.mark.parametrize(
    ("found", "held"),
    [(1.0005, True), (1.1, False), (float("nan"), False), (None, False), ("1", False), (True, False), (torch.tensor(1.0), True)],
)
def test_near_a_number(found, held):
    assert Expect().near("x", found, 1.0, tolerance=1e-3) is held


@pytest.mark.parametrize(
    ("found", "held"),
    [
        (torch.ones(3), True),
        (torch.ones(3) + 1, False),
        (torch.ones(2), False),
        (torch.full((3,), float("nan")), False),
        ([1, 1, 1], False),
    ],
)
def test_near_a_tensor(found, held):
    assert Expect().near("x", found, torch.ones(3), tolerance=1e-6) is held


def test_only_a_failure_names_a_known_mistake():
    expect = Expect()
    expect.equal("a", 5, 3, wrong={5: "five"})
    expect.equal("b", 3, 3, wrong="any")
    expect.near("c", 2.0001, 1.0, tolerance=1e-3, wrong={2.0: "double"})
    expect.equal("d", [[]], 3, wrong={5: "five"})
    assert [claim.wrong for claim in expect.claims] == ["five", "", "double", ""]


def test_values_are_formatted():
    assert [show(one) for one in (294912, 0.25, True, (1, None), "x", 3.9e9)] == [
        "294,912",
        "0.25",
        "true",
        "(1, None)",
        "x",
        "3,900,000,000",
    ]
    assert show(torch.ones(2, 3)) == "Tensor of shape (2, 3)"
    expect = Expect()
    expect.equal("x", None, 3)
    assert "return" in expect.claims[0].found
