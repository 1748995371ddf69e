"""Hostile model folders, loaded one after the other while a hook watches what Python is asked to do.

    python tests/jail.py PLACE EVERY

One of EVERY so many is tried. PLACE gets the folders. Prints one JSON object: every folder with what became of it.
"""

import json
import os
import pickle
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile
import tiny
from finewright import evaluate, hub, models, shapes
from finewright.errors import UserError

MOST_SECONDS, MOST_BYTES = 60, 12 << 30
FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
)
events: list[str] = []
watched: list[Path] = []


def hook(event: str, args: tuple[Any, ...]) -> None:
    """Note and refuse what no model folder may bring about."""
    if not watched:
        return
    folder = str(watched[0])
    wanted = event in FORBIDDEN
    if event == "import" and len(args) > 1:
        wanted = str(args[0]) in ("modeling_evil", "tokenization_evil", "configuration_evil", "evil") or str(args[1]).startswith(
            folder
        )
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        wanted = True
    if wanted:
        events.append(f"{event} {str(args)[:200]}")
        raise PermissionError(f"forbidden here: {event}")


def load_model(folder: Path) -> None:
    """What `plan` and then `train` do with a model folder."""
    source = hub.resolve(str(folder))
    base = shapes.shape(source, labels=["a", "b"], four_bit=None, bfloat16=False)
    base.origin.tokenizer("a parcel" + "a" * 30)
    models.load(source, labels=["a", "b"])


def load_adapter(folder: Path) -> None:
    """What `predict`, `evaluate` and `export` do with the folder that a run saved."""
    evaluate.Predictor.load(folder, limit=32, keep_end=False, bfloat16=False).score(["where is my parcel"])


def attempt(load: Any, folder: Path) -> str:
    """`loaded`, `refused: …`, or what must not be."""

    def late(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(MOST_SECONDS)
    try:
        watched.append(folder)
        load(folder)
    except UserError as error:
        return f"refused: {error.what}"
    except BaseException as error:
        signal.alarm(0)
        return f"{type(error).__name__}: {traceback.format_exc(limit=-4)[-1500:]}"
    finally:
        watched.clear()
        signal.alarm(0)
    return "loaded"


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """A working folder in which a payload would leave its mark."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    """The command."""
    place = Path(sys.argv[1])
    good, adapter = tiny.folder(place / "good"), place / "adapter"
    _save_adapter(good, adapter)
    assert attempt(load_model, good) == attempt(load_adapter, adapter) == "loaded", (attempt(load_adapter, adapter), events)
    events.clear()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    sys.addaudithook(hook)
    for forbidden in (lambda folder: pickle.loads(hostile.PICKLES["plain"]), lambda folder: (folder / "x").write_text("")):
        attempt(forbidden, good)
        assert len(events) == 1, "the hook sees what it is there for"
        events.clear()
    cases = [("model", load_model, good, *case) for case in hostile.models()]
    cases += [("adapter", load_adapter, adapter, *case) for case in hostile.adapters()]
    cases = cases[:: int(sys.argv[2])]
    found = []
    for number, (kind, load, origin, what, spoil) in enumerate(cases):
        folder = place / f"case-{number}"
        shutil.copytree(origin, folder)
        spoil(folder)
        with working_in(place):
            outcome = attempt(load, folder)
        marked = [str(path) for path in (place / hostile.MARK, folder / hostile.MARK) if path.exists()]
        found.append({"kind": kind, "what": what, "outcome": outcome, "events": [*events, *marked]})
        events.clear()
        shutil.rmtree(folder)
    print(json.dumps(found))


def _save_adapter(good: Path, adapter: Path) -> None:
    from finewright import results
    from finewright.methods import make

    source = hub.resolve(str(good))
    base = models.load(source, labels=["a", "b"])
    method = make("lora", {})
    tuned = method.prepare(base.network, anatomy=base.anatomy, head=base.new, origin=base.origin)
    results.save_model(adapter, tuned=tuned, method=method, origin=base.origin, source=source)


if __name__ == "__main__":
    main()
