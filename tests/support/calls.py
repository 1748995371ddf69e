"""How many calls to the system a run's commit makes, and a whole session of a run: at each of them it could be killed.

    python tests/calls.py

Prints one JSON object.
"""

import json
import tempfile
from pathlib import Path

from finewright.runs import checkpoint
from support import saves, sessions
from support.faults import Kill, faulty

OPTIONS = {"method_name": "freeze", "save_steps": 3}
"""Of the run whose calls are counted."""


def main() -> None:
    """The command."""
    saving, whole_session = Kill(10**9), Kill(10**9)
    with tempfile.TemporaryDirectory() as name, sessions.quickly():
        place = sessions.place(Path(name))
        with faulty(whole_session):
            sessions.train(place, place / "run", **OPTIONS)
        for step in (1, 2):
            checkpoint.save_checkpoint(place / "commits", step=step, groups=saves.groups(step), metadata={"note": step})
        with faulty(saving):
            saves.save(place / "commits")
    print(json.dumps({"calls_of_a_save": saving.calls, "calls_of_a_session": whole_session.calls}))


if __name__ == "__main__":
    main()
