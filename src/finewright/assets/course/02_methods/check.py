"""What lesson 2 asks: an update that starts as nothing, is scaled right, learns alone and can be merged; a prompt in front."""

import copy
from typing import Any

import torch
from torch import nn

IN, OUT, RANK, ALPHA = 12, 10, 4, 8.0


def check(learner: Any, expect: Any) -> None:
    """The class, the merge, the prompt."""
    layer, x = nn.Linear(IN, OUT), torch.randn(3, IN)
    plain = layer(x).detach()
    update = learner.LowRank(layer, RANK, ALPHA)
    trained = {name: p for name, p in update.named_parameters() if p.requires_grad}
    if not _check_start(expect, update, plain, x, trained=trained):
        return
    _check_scale(expect, update, plain, x)
    _check_learning(expect, update, x)
    with torch.no_grad():
        update.up.normal_()
        wanted = update(x)
    weight = copy.deepcopy(layer.weight)
    merged = learner.merge(update)
    with torch.no_grad():
        found = merged(x)
    without_scale = x @ (layer.weight + update.up @ update.down).T + layer.bias
    named = "merge_without_scale" if _same(found, without_scale) else "merge_is_the_layer" if _same(found, plain) else ""
    expect.near("`merge`: one layer that computes the same", found, wanted.detach(), tolerance=1e-5, wrong=named)
    kept = torch.equal(weight, layer.weight)
    found = "the same" if kept else "it was changed"
    expect.true("`merge`: the layer inside stays as it is", kept, expected="the same", found=found, wrong="merge_in_place")
    _check_prompt(learner, expect)


def _check_start(expect: Any, update: Any, plain: Any, x: Any, *, trained: dict[str, Any]) -> bool:
    count, hand = sum(p.numel() for p in trained.values()), RANK * (IN + OUT)
    known = {hand + IN * OUT + OUT: "base_learns"}
    counted = expect.equal("`LowRank`: trained parameters, rank x (in + out)", count, hand, wrong=known)
    shapes = {name: tuple(getattr(update, name, torch.empty(0)).shape) for name in ("down", "up")}
    shaped = expect.equal("`LowRank`: shapes of `down` and `up`", tuple(shapes.values()), ((RANK, IN), (OUT, RANK)))
    if not shaped:
        return False
    zeros = [name for name in ("down", "up") if not getattr(update, name).any()]
    wrong = "both_zero" if len(zeros) == 2 else "starts_changed" if not zeros else ""
    starts = "`LowRank`: `up` starts at zero, `down` does not"
    started = expect.true(starts, zeros == ["up"], expected="up", found=" and ".join(zeros) or "none", wrong=wrong)
    expect.near("`LowRank`: at the start it computes what the layer computes", update(x).detach(), plain, tolerance=1e-6)
    return counted and started


def _check_scale(expect: Any, update: Any, plain: torch.Tensor, x: torch.Tensor) -> None:
    with torch.no_grad():
        update.up.normal_()
        found = update(x) - plain
        once = (x @ update.down.T) @ update.up.T
    scale = float((found * once).sum() / (once * once).sum())
    known = {ALPHA: "alpha_alone", 1.0: "no_scale", RANK / ALPHA: "upside_down"}
    expect.near("`LowRank`: the update is scaled by alpha / rank", scale, ALPHA / RANK, tolerance=1e-3, wrong=known)


def _check_learning(expect: Any, update: Any, x: torch.Tensor) -> None:
    with torch.no_grad():
        update.up.zero_()
    optimizer = torch.optim.Adam([p for p in update.parameters() if p.requires_grad], lr=0.02)
    target, losses = torch.randn(3, OUT), []
    for _ in range(60):
        loss = (update(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    fell = losses[-1] < 0.3 * losses[0]
    expect.true("`LowRank`: it can learn", fell, expected="the error falls", found=f"{losses[0]:.2f} to {losses[-1]:.2f}")


def _check_prompt(learner: Any, expect: Any) -> None:
    prompt, embedded = torch.randn(2, 6, requires_grad=True), torch.randn(3, 4, 6)
    found = learner.with_prompt(prompt, embedded)
    wanted = torch.cat([prompt.expand(3, -1, -1), embedded], dim=1).detach()
    behind = torch.cat([embedded, prompt.expand(3, -1, -1)], dim=1)
    wrong = "prompt_behind" if _same(found, behind) else ""
    right = expect.near("`with_prompt`: the prompt, then the text", found, wanted, tolerance=0.0, wrong=wrong)
    if not right:
        return
    reached = found.requires_grad
    if reached:
        found.sum().backward()
    reached = prompt.grad is not None and torch.equal(prompt.grad, torch.full((2, 6), 3.0))
    said = "`with_prompt`: every text's gradient reaches the one prompt"
    expect.true(said, reached, expected="3 texts", found="3 texts" if reached else "none", wrong="prompt_cut_off")


def _same(one: Any, other: torch.Tensor) -> bool:
    return isinstance(one, torch.Tensor) and one.shape == other.shape and bool((one - other).abs().max() < 1e-5)
