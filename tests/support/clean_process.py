"""Code in a Python of its own, which has loaded nothing."""

import subprocess
import sys


def print_from_new_process(code):
    """Return what the code prints; fail if it does."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
