"""On a CUDA device, where there is one."""

import json

import pytest
import torch

from finewright.runs import pipeline
from support import sessions

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


@pytest.mark.parametrize("method_name", ["freeze", "lora", "full"])
def test_a_run_that_is_cut_goes_on(tmp_path, method_name):
    """The steps before the cut stay as they were; those after it may differ in their last digits, as on any GPU."""
    said = []
    with sessions.quickly():
        place = sessions.place(tmp_path)
        whole = sessions.train(place, tmp_path / "whole", method_name=method_name)
        sessions.cut_short(place, tmp_path / "cut", after=5, method_name=method_name)
        before = (tmp_path / "cut" / "metrics.jsonl").read_bytes()
        folder = pipeline.resume(tmp_path / "cut", on_event=said.append)
    assert "continues after step 5, from step-00000005" in said
    assert folder.metrics.read_bytes().startswith(before)
    losses = [[line["loss"] for line in one.read_lines(one.metrics) if "loss" in line] for one in (whole, folder)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    result = json.loads(folder.result.read_text())
    assert (result["hardware"]["device"], result["sessions"]) == ("cuda", 2)
