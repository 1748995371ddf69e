"""What lesson 1 asks: the right token, scores that padding does not change, a loop that learns."""

import copy
import math
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2Model

WIDTH, VOCABULARY, NUM_LABELS = 32, 50, 3


def network() -> tuple[Any, nn.Linear]:
    """A GPT-2 of two layers and a fresh head."""
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=WIDTH, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    config.embd_pdrop = config.attn_pdrop = config.resid_pdrop = 0.0
    head = nn.Linear(WIDTH, NUM_LABELS, bias=False)
    nn.init.normal_(head.weight, std=0.02)
    return GPT2Model(config), head


def batch(size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Texts whose label is the first token's remainder: easy to learn, but not from padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (size, 8), generator=generator)
    lengths = torch.randint(2, 9, (size,), generator=generator)
    ids[torch.arange(8)[None] >= lengths[:, None]] = 0
    return ids, lengths, ids[:, 0] % NUM_LABELS


def check(learner: Any, expect: Any) -> None:
    """Three functions, from the inside out."""
    states, lengths = torch.randn(4, 5, 6), torch.tensor([5, 2, 1, 4])
    wanted = torch.stack([states[row, length - 1] for row, length in enumerate(lengths)])
    pooled = learner.last_token(states, lengths)
    known = {"last_position": states[:, -1], "first_token": states[:, 0], "mean_of_all": states.mean(1)}
    known["one_too_far"] = states[torch.arange(4), lengths.clamp(max=4)]
    named = next((name for name, other in known.items() if same(pooled, other)), "")
    expect.near("`last_token`: the state of each text's last real token", pooled, wanted, tolerance=1e-6, wrong=named)
    if named:
        return

    body, head = network()
    body.eval()
    ids, lengths, _ = batch(5, seed=1)
    with torch.no_grad():
        alone = torch.cat([learner.scores(body, head, ids[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths)])
        together = learner.scores(body, head, ids, lengths)
    expect.equal("`scores`: shape (texts, labels)", getattr(together, "shape", None), (5, NUM_LABELS))
    expect.near("`scores`: a text scores the same alone and in a padded batch", together, alone, tolerance=1e-5)
    _check_training(learner, expect, body, head)


def _check_training(learner: Any, expect: Any, body: Any, head: nn.Linear) -> None:
    before = {"body": copy.deepcopy(body.state_dict()), "head": copy.deepcopy(head.state_dict())}
    losses = learner.train(body, head, [batch(32, seed) for seed in range(60)], 3e-3)
    expect.equal("`train`: one loss a batch", len(losses) if isinstance(losses, list) else losses, 60)
    first, last = float(losses[0]), sum(map(float, losses[-5:])) / 5
    expect.near("`train`: a fresh head starts near ln(3)", first, math.log(NUM_LABELS), tolerance=0.1)
    moved = {name: any_moved(part, before[name]) for name, part in (("body", body), ("head", head))}
    wrong = "" if all(moved.values()) else "head_only" if moved["head"] else "no_step"
    expect.true("`train`: body and head both move", not wrong, expected="both", found=words(moved), wrong=wrong)
    fell = last < 0.5 * first
    expect.true("`train`: the loss falls", fell, expected=f"below {first / 2:.2f} at the end", found=f"{first:.2f} to {last:.2f}")
    if wrong:
        return

    body, head = network()  # at a learning rate of next to nothing the second gradient must be the second batch's own
    first_batch, second_batch = batch(4, seed=1), batch(4, seed=2)
    learner.train(body, head, [first_batch, second_batch], 1e-12)
    left = head.weight.grad
    sizes = []
    for part in (first_batch, second_batch):
        head.weight.grad = None
        nn.functional.cross_entropy(learner.scores(body, head, *part[:2]), part[2]).backward()
        sizes.append(head.weight.grad)
    piled_up = left is not None and same(left, sizes[0] + sizes[1], 1e-4)
    found = "the sum of both batches' gradients" if piled_up else "only its own gradient"
    expect.true(
        "`train`: each step uses its own gradient", not piled_up, expected="only its own", found=found, wrong="no_zero_grad"
    )


def same(one: Any, other: torch.Tensor, tolerance: float = 1e-6) -> bool:
    """Whether both are tensors of one shape and, within `tolerance`, of the same numbers."""
    return isinstance(one, torch.Tensor) and one.shape == other.shape and bool((one - other).abs().max() <= tolerance)


def any_moved(part: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether some number of the module changed."""
    return any(not torch.equal(value, before[name]) for name, value in part.state_dict().items())


def words(moved: dict[str, bool]) -> str:
    """`body yes, head no`."""
    return ", ".join(f"{name} {'moves' if yes else 'stays'}" for name, yes in moved.items())
