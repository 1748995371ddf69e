"""How many calls to the system a run's commit makes, and a whole life of a run: each is one at which it could be cut.

    python tests/calls.py

Prints one JSON object.
"""

import json
import tempfile
from pathlib import Path

import lives
import test_faults
import test_refused
from faults import Kill, faulty
from finewright import checkpoint


def main() -> None:
    """The command."""
    saving, living = Kill(10**9), Kill(10**9)
    with tempfile.TemporaryDirectory() as name, lives.quickly():
        place = lives.place(Path(name))
        with faulty(living):
            lives.train(place, place / "run", **test_refused.OPTIONS)
        for step in (1, 2):
            checkpoint.save(place / "commits", step=step, groups=test_faults.groups(step), facts={"note": step})
        with faulty(saving):
            test_faults.save(place / "commits")
    print(json.dumps({"calls_of_a_save": saving.calls, "calls_of_a_life": living.calls}))


if __name__ == "__main__":
    main()
