"""How many calls to the system a run's commit makes, and a whole life of a run: each is one at which it could be cut.

    python tests/calls.py

Prints one JSON object.
"""

import json
import tempfile
from pathlib import Path

from finewright.runs import checkpoint
from support import lives, saves
from support.faults import Kill, faulty

OPTIONS = {"way": "freeze", "save_steps": 3}
"""Of the run whose calls are counted."""


def main() -> None:
    """The command."""
    saving, living = Kill(10**9), Kill(10**9)
    with tempfile.TemporaryDirectory() as name, lives.quickly():
        place = lives.place(Path(name))
        with faulty(living):
            lives.train(place, place / "run", **OPTIONS)
        for step in (1, 2):
            checkpoint.save_checkpoint(place / "commits", step=step, groups=saves.groups(step), facts={"note": step})
        with faulty(saving):
            saves.save(place / "commits")
    print(json.dumps({"calls_of_a_save": saving.calls, "calls_of_a_life": living.calls}))


if __name__ == "__main__":
    main()
