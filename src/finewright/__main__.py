"""The command's first moment: signals are heard before all else is loaded, which takes a while."""

import os
from typing import Any

from finewright.core import interrupts
from finewright.core.imports import leave_garbage_at_exit
from finewright.core.quiet import quiet_whole_process


def main() -> None:
    """Run a command. Until it listens for signals itself, one of them ends the program with its code and without a traceback."""

    def heard(number: int, _: Any) -> None:
        os._exit(128 + number)

    interrupts.handle_signals(heard)
    quiet_whole_process()
    from finewright.cli import main as program

    try:
        program.main()
    finally:
        leave_garbage_at_exit()


if __name__ == "__main__":
    main()
