"""What third-party libraries say, and to whom."""

import logging
import os

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
            quiet.quiet_whole_process()
            assert os.environ["TRANSFORMERS_VERBOSITY"] == expected
            assert os.environ["TORCH_CPP_LOG_LEVEL"] == "ERROR"
    finally:
        logger.setLevel(before)
