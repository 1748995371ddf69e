"""What lesson 5 asks: the very counts on GPT-2 small, and that what is frozen does not move."""

from typing import Any

import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

NUM_LABELS, VOCABULARY = 3, 40
HEAD = 768 * NUM_LABELS
KNOWN_TOP = {
    21_263_616: "final_norm_frozen",
    124_439_808: "nothing_frozen",
    21_265_152 + 38_597_376 + 786_432: "embeddings_thawed",
    14_177_280: "one_layer_short",
    28_353_024: "one_layer_too_many",
}


def check(learner: Any, expect: Any) -> None:
    """Counts, shares, behaviour."""
    if not _check_counts(learner, expect):
        return
    _check_shares(learner, expect)
    _check_behaviour(learner, expect)


def small() -> Any:
    """The shape of GPT-2 small in memory that nobody touches: counts need no numbers."""
    with torch.device("meta"):
        bare = GPT2ForSequenceClassification(GPT2Config(num_labels=NUM_LABELS, pad_token_id=50256))
    return bare.to_empty(device="cpu")


def _check_counts(learner: Any, expect: Any) -> bool:
    model, held = small(), True
    for function, name, wanted, known in (
        (learner.train_top, "train_top", 21_265_152, KNOWN_TOP),
        (learner.train_bottom, "train_bottom", 21_263_616, {21_265_152: "norm_on_the_bottom", 124_439_808: "nothing_frozen"}),
    ):
        function(model, 3)
        trained = {key: p.numel() for key, p in model.named_parameters() if p.requires_grad}
        head = sum(count for key, count in trained.items() if key.startswith("score."))
        body = sum(trained.values()) - head
        held &= expect.equal(
            f"`{name}(model, 3)` on GPT-2 small: trained parameters, without the head", body, wanted, wrong=known
        )
        held &= expect.equal(f"`{name}`: trained parameters of the head", head, HEAD, wrong={0: "head_frozen"})
        layers = sorted({int(key.split(".")[2]) for key in trained if key.startswith("transformer.h.")})
        want = [9, 10, 11] if name == "train_top" else [0, 1, 2]
        turned = {(0, 1, 2): "bottom_for_top", (9, 10, 11): "top_for_bottom"}
        held &= expect.equal(f"`{name}(model, 3)`: trained layers, of 0 to 11", tuple(layers), tuple(want), wrong=turned)
    learner.train_top(model, 0)
    none = [key for key, p in model.named_parameters() if p.requires_grad and ".h." in key]
    what = "`train_top(model, 0)` trains no layer"
    return held & expect.equal(what, len({key.split(".")[2] for key in none}), 0, wrong={12: "minus_zero"})


def _check_shares(learner: Any, expect: Any) -> None:
    model = small()
    model.requires_grad_(False)
    found = learner.shares(model)
    total, layer, norm = 124_439_808, 7_087_872, 1_536
    wanted = [(number * layer + norm) / total for number in range(13)]
    expect.equal("`shares`: one for 0 to 12 layers", len(found), 13, wrong={12: "starts_at_one"})
    with_head = [(number * layer + norm + HEAD) / (total + HEAD) for number in range(13)]
    without_norm = [number * layer / total for number in range(13)]
    wrong = "head_counted" if _close(found, with_head) else "final_norm_left_out" if _close(found, without_norm) else ""
    said = f"{found[3]:.4%} for three" if len(found) > 3 else "too few"
    expect.true("`shares`: GPT-2 small", _close(found, wanted), expected=f"{wanted[3]:.4%} for three", found=said, wrong=wrong)
    untouched = not any(p.requires_grad for p in model.parameters())
    expect.true(
        "`shares`: the model is left as it is", untouched, expected="untouched", found="untouched" if untouched else "thawed"
    )
    known = {2: "rounds_down", 4: "rounds_up"}
    expect.equal("`nearest`: the choice for 16%", learner.nearest(wanted, 0.16), 3, wrong={2: "rounds_down"})
    expect.equal("`nearest`: the choice for 18%", learner.nearest(wanted, 0.18), 3, wrong=known)
    expect.note(
        f"Whole layers give {wanted[2]:.1%}, {wanted[3]:.1%} or {wanted[4]:.1%}: 16% is not among them, 17.1% is nearest."
    )


def _close(found: Any, wanted: list[float]) -> bool:
    return len(found) == len(wanted) and all(abs(one - two) < 1e-9 for one, two in zip(found, wanted, strict=True))


def _check_behaviour(learner: Any, expect: Any) -> None:
    for function, name, want in ((learner.train_top, "train_top", "h.2"), (learner.train_bottom, "train_bottom", "h.0")):
        config = GPT2Config(vocab_size=VOCABULARY, n_positions=8, n_embd=16, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0)
        config.num_labels, config.pad_token_id = NUM_LABELS, 0
        model = GPT2ForSequenceClassification(config)
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        function(model, 1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        ids = torch.randint(1, VOCABULARY, (8, 6))
        model(input_ids=ids, labels=ids[:, 0] % NUM_LABELS).loss.backward()
        optimizer.step()
        moved = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
        parts = sorted({".".join(key.split(".")[1:3]) if ".h." in key else key.rsplit(".", 1)[0] for key in moved})
        wanted = sorted([want, "score", *(["transformer.ln_f"] if name == "train_top" else [])])
        expect.equal(f"`{name}(model, 1)`: parts that move in a step", tuple(parts), tuple(wanted))
