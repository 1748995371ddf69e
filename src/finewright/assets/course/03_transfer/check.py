"""What lesson 3 asks: the stored weights in float32, the same shape without them, an honest learning curve."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

MINI = Path(__file__).resolve().parents[2] / "models" / "mini"
NUM_LABELS, VOCABULARY = 3, 40


def check(learner: Any, expect: Any) -> None:
    """Load, build, measure."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "stored"
        torch.manual_seed(1)
        GPT2LMHeadModel(_config()).to(torch.bfloat16).save_pretrained(folder)
        if not _check_loading(learner, expect, folder):
            return
        _check_curve(learner, expect, folder)
    reach = learner.steps_to_reach
    found = (reach([2.0, 1.5, 1.0, 1.2, 0.9], 1.0), reach([2.0, 1.5], 2.0), reach([2.0, 1.5], 0.5))
    expect.equal(
        "`steps_to_reach`: at or below, before any step, never", found, (2, 0, None), wrong={(3, 1, None): "counts_from_one"}
    )
    torch.manual_seed(2)
    model = learner.pretrained(MINI, 7)
    total = sum(p.numel() for p in model.parameters())
    head = sum(p.numel() for p in model.score.parameters())
    expect.note(f"`mini` has {total - head:,} numbers, and a head for seven labels brings {head:,} more.")


def _config() -> GPT2Config:
    return GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)


def _check_loading(learner: Any, expect: Any, folder: Path) -> bool:
    stored = {name.removeprefix("transformer."): t.float() for name, t in load_file(folder / "model.safetensors").items()}
    held = True
    for name, wrong in (("pretrained", "pretrained_is_random"), ("from_scratch", "scratch_is_pretrained")):
        torch.manual_seed(2)
        model = getattr(learner, name)(folder, NUM_LABELS)
        body = model.transformer.state_dict()
        equal = all(torch.allclose(body[key].float(), value, atol=1e-6) for key, value in stored.items() if key in body)
        wanted = name == "pretrained"
        words = {True: "the stored ones", False: "other ones"}
        held &= expect.true(f"`{name}`: its weights", equal == wanted, expected=words[wanted], found=words[equal], wrong=wrong)
        kinds = {str(p.dtype).removeprefix("torch.") for p in model.parameters()}
        held &= expect.equal(f"`{name}`: type of its parameters", "/".join(sorted(kinds)), "float32", wrong="keeps_bfloat16")
        held &= expect.equal(f"`{name}`: labels", model.config.num_labels, NUM_LABELS, wrong={2: "labels_left_at_two"})
        held &= expect.equal(f"`{name}`: padding id", model.config.pad_token_id, 0, wrong={None: "no_padding_id"})
    return held


def _check_curve(learner: Any, expect: Any, folder: Path) -> None:
    torch.manual_seed(3)
    model = GPT2ForSequenceClassification(_config_of_classifier())
    modes: list[tuple[bool, bool]] = []
    model.transformer.register_forward_pre_hook(lambda *_: modes.append((model.training, torch.is_grad_enabled())))
    train, validation = [_batch(16, seed) for seed in range(40)], [_batch(24, 100), _batch(24, 101)]
    with torch.no_grad():
        model.eval()
        start = sum(model(**one).loss.item() for one in validation) / 2
    modes.clear()
    curve = learner.learning_curve(model, train, validation, 3e-3)
    evaluated, stepped = sum(not grad for _, grad in modes), [training for training, grad in modes if grad]
    wrong = "evaluates_in_training_mode" if any(training for training, grad in modes if not grad) else ""
    expect.equal("`learning_curve`: one number before and one after every step", len(curve), 41, wrong={40: "misses_the_start"})
    with torch.no_grad():
        model.eval()
        end = sum(model(**one).loss.item() for one in validation) / 2
    expect.near("`learning_curve`: the first is the loss before any step", curve[0], start, tolerance=1e-4, wrong=wrong)
    expect.near("`learning_curve`: the last is the loss after all steps", curve[-1], end, tolerance=1e-4, wrong=wrong)
    fell = curve[-1] < 0.8 * curve[0]
    expect.true("`learning_curve`: the loss falls", fell, expected="it falls", found=f"{curve[0]:.2f} to {curve[-1]:.2f}")
    dropout = len(stepped) == 40 and all(stepped)
    said = f"{sum(stepped)} of {len(stepped)} steps with dropout, {evaluated} evaluations without gradients"
    wanted = "40 of 40 steps with dropout, 82 evaluations without gradients"
    named = "steps_without_dropout" if len(stepped) == 40 and not dropout else ""
    expect.true(
        "`learning_curve`: how it evaluates and steps", dropout and evaluated == 82, expected=wanted, found=said, wrong=named
    )


def _config_of_classifier() -> GPT2Config:
    config = _config()
    config.num_labels, config.pad_token_id = NUM_LABELS, 0
    return config


def _batch(size: int, seed: int) -> dict[str, torch.Tensor]:
    """Texts whose label is the remainder of their last token."""
    ids = torch.randint(1, VOCABULARY, (size, 6), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, -1] % NUM_LABELS}
