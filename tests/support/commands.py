"""Run commands in this process."""

import io
import signal
import sys

import pytest

from finewright.cli import main

FAST = ["--set", "training.max_steps=12", "--set", "training.tokens_per_micro_batch=120", "--set", "training.num_threads=1"]


def call(*words):
    """Return (exit code, standard output, standard error) of a command."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["finewright", *map(str, words)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setenv("COLUMNS", "200")
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        try:
            main.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            signal.signal(signal.SIGINT, before[0])
            signal.signal(signal.SIGTERM, before[1])
    return code, out.getvalue(), err.getvalue()
