"""What third-party libraries say, and to whom."""

import logging

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
