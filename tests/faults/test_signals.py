"""Signals at random instants of real processes, on a terminal and off it: their exit code, no traceback, and nothing lost."""

import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from finewright.runs.folder import RunFolder
from support import sessions, signals

OPTIONS = {**sessions.OPTIONS, "save_steps": 3, "early_stopping_patience": 3}
MOST_SIGNALS = 4
"""Most signals that a run gets; then it may finish."""


class Life:
    """One process of a run. What it says is read all the time, or a full terminal would hold it up."""

    def __init__(self, root: Path, out: Path, *, terminal: bool) -> None:
        words = ["train", root / "tickets.csv", "--model", root / "gpt2", "--method", "lora", "--out", out, "--json"]
        options = [word for name, value in OPTIONS.items() for word in ("--set", f"training.{name}={value}")]
        self.parts: list[bytes] = []
        self.ours, theirs = pty.openpty() if terminal else os.pipe()
        command = [sys.executable, "-m", "finewright", *map(str, words), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        while not signals.has_handler(self.process.pid, signal.SIGTERM) and self.process.poll() is None:
            time.sleep(0.001)
        self.began = time.monotonic()

    def _read(self) -> None:
        try:
            while part := os.read(self.ours, 65536):
                self.parts.append(part)
        except OSError:  # how a terminal says that nobody is on its other side any more
            pass

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> tuple[int, str, float]:
        """Exit code, what was said, seconds since it listened."""
        code = self.process.wait(timeout=120)
        seconds = time.monotonic() - self.began
        self.reader.join()
        os.close(self.ours)
        return code, b"".join(self.parts).decode(), seconds


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no list of the signals that a process hears")
def test_forty_signals_at_random_times(tmp_path):
    root, dice = sessions.place(tmp_path), random.Random(0)
    code, said, whole = Life(root, root / "whole", terminal=False).end()
    assert code == 0, said
    expected, heard, begun = sessions.made(RunFolder(root / "whole")), 0, 0
    while heard < 40:
        folder = RunFolder(root / f"run-{begun}")
        begun += 1
        for _ in range(MOST_SIGNALS):
            life = Life(root, folder.path, terminal=bool(begun % 2))
            time.sleep(dice.uniform(0, whole))
            numbers = [dice.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]) for _ in range(dice.choice([1, 1, 2]))]
            before = folder.committed_step
            for number in numbers:
                life.signal(number)
                time.sleep(dice.choice([0, 0.05]))
            code, said, _ = life.end()
            heard += code != 0
            assert "Traceback" not in said, said
            if code < 0:  # no handler is left when a program that is done leaves the interpreter; a shell says 128 and the number
                assert folder.complete or "stopped" in said, (code, said)
                code = 128 - code
            assert code in (0, *(128 + number for number in numbers)), (numbers, said)
            assert folder.committed_step >= before, said
            if folder.complete:
                break
        else:
            code, said, _ = Life(root, folder.path, terminal=False).end()
            assert code == 0, said
        assert sessions.made(folder) == expected
