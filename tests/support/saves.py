"""A small checkpoint, saved as a run saves its own."""

import torch

from finewright.runs import checkpoint


def groups(value):
    return {"trained": {"a": torch.full((3, 4), float(value)), "b": torch.ones(2)}, "state": {"step": torch.tensor(value)}}


def save(root):
    """Save the third checkpoint, with the best weights carried over from the second as a run does."""
    second = checkpoint.load_latest(root, notify=lambda text: None)
    assert second is not None
    return checkpoint.save_checkpoint(root, step=3, groups=groups(3), metadata={"note": 3}, carried={"best": (second, "trained")})
