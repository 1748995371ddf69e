"""What lesson 6 asks: bytes of each method, a real 4-bit quantisation, the sum for seven billion."""

from typing import Any

import torch

N, BLOCK = 512, 64
LLAMA = (6_476_005_376, 262_410_240, 4_194_304)


def check(learner: Any, expect: Any) -> None:
    """Arithmetic first, then the tensors, then the sum."""
    known = {12_000: "no_gradients", 8_000: "no_optimizer", 4_000: "weights_only"}
    known |= {12_000_000: "no_gradients", 8_000_000: "no_optimizer", 4_000_000: "weights_only"}
    expect.equal("`full_bytes` of a million", learner.full_bytes(1_000_000), 16_000_000, wrong=known)
    everywhere = 16 * 1_010_000
    frozen_too = {everywhere: "frozen_as_trained", 4 * 1_000_000 + 160_000: "frozen_in_float32", 2_020_000: "trained_as_frozen"}
    expect.equal(
        "`lora_bytes` of a million frozen, 10,000 trained", learner.lora_bytes(1_000_000, 10_000), 2_160_000, wrong=frozen_too
    )
    _check_quantising(learner, expect)
    bits = {4.0: "scales_forgotten", 4.5: "scales_in_32_bits", 4.125: "second_scales_forgotten", 4.25: "second_scales_not_shared"}
    expect.near("`nf4_bits()`", learner.nf4_bits(), 4 + 8 / 64 + 32 / (64 * 256), tolerance=1e-9, wrong=bits, unit="bits")
    expect.near("`nf4_bits(32, 128)`", learner.nf4_bits(32, 128), 4 + 8 / 32 + 32 / (32 * 128), tolerance=1e-9, unit="bits")
    quantised, plain, trained = LLAMA
    size = 4 + 8 / 64 + 32 / (64 * 256)
    wanted = quantised * size / 8 + 2 * plain + 16 * trained
    known_sums = {
        quantised * size + 2 * plain + 16 * trained: "bits_for_bytes",
        (quantised + plain) * size / 8 + 16 * trained: "embeddings_quantised",
        quantised * size / 8 + 2 * plain + 2 * trained: "trained_without_adam",
    }
    found = learner.qlora_bytes(*LLAMA)
    if expect.near("`qlora_bytes` of Llama 7B", found, wanted, tolerance=1e3, wrong=known_sums, unit="bytes"):
        expect.note(
            f"Llama 7B by QLoRA: {wanted / 1e9:.2f} GB before activations; 8 GB leave {8 - wanted / 1e9:.1f} GB for them."
        )


def _check_quantising(learner: Any, expect: Any) -> None:
    levels = learner.NF4
    weights = torch.randn(N) * 0.02
    weights[BLOCK : 2 * BLOCK] *= 30  # one block of large weights must not spoil the others
    rows = weights.view(-1, BLOCK)
    scales = rows.abs().amax(1)
    codes, found = learner.quantise(weights.clone(), BLOCK)
    shapes = (tuple(codes.shape), tuple(found.shape))
    wrong = "one_scale_for_all" if found.numel() == 1 or bool((found == found.flatten()[0]).all()) else ""
    if not expect.equal("`quantise`: shapes of codes and scales", shapes, ((N,), (N // BLOCK,)), wrong=wrong):
        return
    no_abs = bool(torch.allclose(found, rows.amax(1)))
    named = wrong or ("largest_not_absolute" if no_abs else "")
    expect.near("`quantise`: each block's scale", found, scales, tolerance=1e-6, wrong=named)
    kind = str(codes.dtype).removeprefix("torch.")
    whole = not codes.is_floating_point() and int(codes.min()) >= 0 and int(codes.max()) <= 15
    what = "`quantise`: codes are places in NF4"
    expect.true(what, whole, expected="whole numbers 0 to 15", found=kind, wrong="codes_are_values")
    if not whole:
        return
    wanted = ((rows / scales[:, None])[..., None] - levels).abs().argmin(-1).flatten()
    below = (torch.bucketize((rows / scales[:, None]).flatten(), levels, right=True) - 1).clamp(0, 15)
    wrong = "next_below" if torch.equal(codes.long(), below) else "evenly_spaced" if _even(codes, rows, scales) else ""
    hit = float((codes.long() == wanted).float().mean())
    expect.true("`quantise`: the nearest of sixteen", hit == 1, expected="100% of the codes", found=f"{hit:.0%}", wrong=wrong)
    back = learner.restore(wanted, scales, BLOCK)
    right = (levels[wanted].view(-1, BLOCK) * scales[:, None]).flatten()
    unscaled = back.shape == right.shape and torch.allclose(back, levels[wanted])
    expect.near(
        "`restore`: what the codes stand for", back, right, tolerance=1e-6, wrong="scales_not_restored" if unscaled else ""
    )


def _even(codes: torch.Tensor, rows: torch.Tensor, scales: torch.Tensor) -> bool:
    """Whether the codes are those of sixteen evenly spaced values."""
    even = torch.linspace(-1, 1, 16)
    return torch.equal(codes.long(), ((rows / scales[:, None])[..., None] - even).abs().argmin(-1).flatten())
