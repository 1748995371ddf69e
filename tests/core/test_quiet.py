"""What third-party libraries say, and to whom."""

import logging
import os
import subprocess
import sys

import pytest

from finewright.core import quiet


def test_the_library_that_peft_loads_is_quiet_for_that_moment_alone():
    logger = logging.getLogger("bitsandbytes")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with quiet.peft_quiet():
            assert not logger.isEnabledFor(logging.WARNING)
            assert logger.isEnabledFor(logging.ERROR)
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(before)


def test_a_program_keeps_transformers_quiet_unless_the_user_wants_to_hear_it(monkeypatch):
    logger = logging.getLogger("bitsandbytes")
    before = logger.level
    try:
        for given, expected in (({}, "error"), ({"TRANSFORMERS_VERBOSITY": "info"}, "info")):
            monkeypatch.setattr(os, "environ", dict(given))
            monkeypatch.setattr(quiet, "_entry_point", False)
            quiet.quiet_whole_process()
            assert os.environ["TRANSFORMERS_VERBOSITY"] == expected
            assert os.environ["TORCH_CPP_LOG_LEVEL"] == "ERROR"
    finally:
        logger.setLevel(before)


_WRAP = """
import sys
from finewright.core import quiet
if {ours}:
    quiet.quiet_whole_process()
import torch
with quiet.peft_quiet():
    import peft
    network = torch.nn.Sequential(torch.nn.Linear(4, 4))
    peft.get_peft_model(network, peft.LoraConfig(target_modules=["0"]))
print("bitsandbytes" in sys.modules, peft.import_utils.is_bnb_available())
"""


@pytest.mark.parametrize("ours", [True, False])
def test_our_own_process_wraps_by_peft_without_loading_bitsandbytes_and_can_load_it_later(ours):
    pytest.importorskip("bitsandbytes")
    command = [sys.executable, "-c", _WRAP.format(ours=ours)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(not ours), "True"]
