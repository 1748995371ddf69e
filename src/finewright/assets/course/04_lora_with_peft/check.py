"""What lesson 4 asks: the very count on GPT-2 small, a head that learns, a base that stays, an update that can be merged."""

from typing import Any

import torch
from peft import PeftModel
from transformers import GPT2Config, GPT2ForSequenceClassification

NUM_LABELS, VOCABULARY = 3, 40
KNOWN_COUNTS = {
    147_456: "rank_4",
    589_824: "rank_16",
    811_008: "output_projections_too",
    1_179_648: "all_layers",
    124_439_808 + 294_912: "nothing_frozen",
}
KNOWN_SCALES = {1.0: "alpha_left_at_default", 2.0: "alpha_16", 0.25: "upside_down"}


def check(learner: Any, expect: Any) -> None:
    """Counts on the shape of GPT-2 small, behaviour on a small GPT-2."""
    by_hand = learner.count_by_hand(768, 8, 12)
    known = {(24_576, 24_576): "one_layer", (294_912, 442_368): "key_counted_too", (294_912, 147_456): "one_of_two"}
    expect.equal("`count_by_hand` for GPT-2 small: fused, and query with value", by_hand, (294_912, 294_912), wrong=known)
    more = learner.count_by_hand(100, 4, 3)
    expect.equal("`count_by_hand` for another shape", more, (4_800, 4_800))
    if not _check_counts(learner, expect):
        return
    _check_behaviour(learner, expect)


def _check_counts(learner: Any, expect: Any) -> bool:
    with torch.device("meta"):
        bare = GPT2ForSequenceClassification(GPT2Config(num_labels=NUM_LABELS, pad_token_id=50256))
    model = _add_lora(learner, bare.to_empty(device="cpu"), expect)  # memory that nobody touches: counts need no numbers
    if model is None:
        return False
    if not expect.true(
        "`add_lora`: what comes back", isinstance(model, PeftModel), expected="a PeftModel", found=type(model).__name__
    ):
        return False
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(count for name, count in trained.items() if "score" in name)
    body = sum(trained.values()) - head
    what = "`add_lora` on GPT-2 small: trained parameters, without the head"
    counted = expect.equal(what, body, 294_912, wrong=KNOWN_COUNTS)
    headed = expect.equal("`add_lora`: trained parameters of the head", head, 768 * NUM_LABELS, wrong={0: "head_frozen"})
    share = body / 124_439_808
    expect.note(f"You train {body:,} of 124,439,808 parameters: {share:.3%}.")
    return counted and headed


def _add_lora(learner: Any, bare: Any, expect: Any) -> Any:
    """Return what `add_lora` does; None if it names modules that GPT-2 does not have, as PEFT then says."""
    try:
        return learner.add_lora(bare)
    except ValueError as error:
        if "arget modules" not in str(error):
            raise
        found = str(error).split(". ")[0]
        what = "`add_lora`: `target_modules` names a module of GPT-2"
        expect.true(what, False, expected="c_attn", found=found, wrong="separate_projections")
        return None


def _check_behaviour(learner: Any, expect: Any) -> None:
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    config.num_labels, config.pad_token_id = NUM_LABELS, 0
    bare, batch = GPT2ForSequenceClassification(config).eval(), _batch(8, 0)
    with torch.no_grad():
        before = bare(**batch).logits
        frozen = {name: p.clone() for name, p in bare.named_parameters()}
    model = learner.add_lora(bare)
    tables = [module.scaling for module in model.modules() if isinstance(getattr(module, "scaling", None), dict)]
    scales = {float(scale) for table in tables for scale in table.values()}
    scale = scales.pop() if len(scales) == 1 else float("nan")
    expect.near("`add_lora`: the update is scaled by alpha / r", scale, 4.0, tolerance=1e-6, wrong=KNOWN_SCALES)
    model.eval()
    with torch.no_grad():
        expect.near("`add_lora`: at the start nothing is changed", model(**batch).logits, before, tolerance=1e-5)

    losses = learner.train(model, [_batch(32, seed) for seed in range(60)], 2e-2)
    expect.equal("`train`: one loss a batch", len(losses) if isinstance(losses, list) else losses, 60)
    least = min(losses[30:])  # each is of other texts: the last one may be high by chance
    expect.true("`train`: the loss falls", least < 0.8 * losses[0], expected="it falls", found=f"{losses[0]:.2f} to {least:.2f}")
    now = {_plain(name): p for name, p in model.named_parameters() if "lora_" not in name and "modules_to_save" not in name}
    moved = [name for name, old in frozen.items() if name in now and not torch.equal(old, now[name])]
    head = [p for name, p in model.named_parameters() if "modules_to_save" in name]
    head_moved = bool(head) and not torch.equal(head[0], frozen["score.weight"])
    said = f"{moved[0]} moved" if moved else "nothing moved"
    expect.true("`train`: the base stays as it is", not moved, expected="nothing moved", found=said, wrong="base_thawed")
    found = "it moved" if head_moved else "it did not"
    expect.true("`train`: the head learns", head_moved, expected="it moved", found=found, wrong="adapters_only")

    model.eval()
    with torch.no_grad():
        wanted = model(**batch).logits
        merged = learner.merge(model)
        plain = not isinstance(merged, PeftModel) and not any("lora_" in name for name, _ in merged.named_parameters())
        expect.true("`merge`: an ordinary model", plain, expected="no LoRA in it", found="no LoRA in it" if plain else "LoRA")
        found = merged.eval()(**batch).logits
    expect.near("`merge`: it scores as the tuned model does", found, wanted, tolerance=1e-4, wrong="merge_loses_the_update")


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer", "").replace("original_module.", "")


def _batch(size: int, seed: int) -> dict[str, torch.Tensor]:
    """Texts whose label is the remainder of their last token."""
    ids = torch.randint(1, VOCABULARY, (size, 6), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, -1] % NUM_LABELS}
