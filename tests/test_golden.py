"""Every method on small data gives the bits that it gave when the hashes were recorded, on the same kind of machine."""

import json

import pytest

from support import golden_runs

pytestmark = pytest.mark.slow


@pytest.mark.timeout(1200)
def test_weights_predictions_and_metrics_are_the_recorded_ones():
    known = json.loads(golden_runs.GOLDEN.read_text())
    if golden_runs.machine() not in known:
        pytest.skip(f"no hashes for {golden_runs.machine()}; `python tests/support/golden_runs.py --write` records them")
    found = golden_runs.hashes([])
    assert {"mini-full", "mini-lora", "mini-prompt"} <= set(found)
    assert golden_runs.differences(known[golden_runs.machine()], found) == []


def test_another_bit_is_a_difference():
    kept = {"one": {"weights": "a", "predictions": "b"}}
    assert golden_runs.differences(kept, {"one": {"weights": "a", "predictions": "c"}}) == ["one: predictions"]
