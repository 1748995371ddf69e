"""Tiny networks as a method prepares them, and a step of training."""

import torch

from finewright import methods
from finewright.data.layout import PackedLayout
from finewright.models import forward
from finewright.tasks.text_classification import TextClassification
from support import tiny


def prepared(name, *, kind="gpt2", **options):
    return methods.build_method(name, options).prepare(tiny.base_network(tiny.network(kind)))


def step(prepared_model, *, times=1):
    optimizer = torch.optim.SGD(prepared_model.trainable().values(), lr=0.5)
    layout, ids = PackedLayout((4, 6, 6)), torch.randint(0, tiny.VOCABULARY, (16,), generator=torch.Generator().manual_seed(1))
    for _ in range(times):
        optimizer.zero_grad()
        output = forward.compute_logits(prepared_model, ids, layout)
        (TextClassification(("a", "b", "c")).loss(output, torch.tensor([0, 1, 2])) / 3).backward()
        optimizer.step()
