"""Hostile model folders, loaded one after the other while an audit hook watches what Python does.

    python tests/jail.py PLACE EVERY

One of EVERY so many is tried. PLACE gets the folders. Prints one JSON object: every folder with what became of it.
"""

import ctypes
import gc
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

from finewright.core import hardware
from finewright.core.errors import UserError, is_out_of_memory
from finewright.inference import predictor
from finewright.models import hub, loading, meta
from finewright.tasks.text_classification import TextClassification
from support import hostile, tiny

TASK = TextClassification.name
HEAD_SPEC = TextClassification(("a", "b")).head_spec

MOST_SECONDS, MOST_BYTES = 20, 1 << 30
"""Of the processor's time, and of address space beyond what loading the good folders has taken."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
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
    "ctypes.dlopen",
)
events: list[str] = []
watched: list[Path] = []


def hook(event: str, args: tuple[Any, ...]) -> None:
    """Record and refuse every event that no model folder may cause."""
    if not watched:
        return
    folder = str(watched[0])
    wanted = event in FORBIDDEN
    if event == "import" and len(args) > 1:
        wanted = str(args[0]) in ("modeling_evil", "tokenization_evil", "configuration_evil", "evil") or str(args[1]).startswith(
            folder
        )
    if event == "open" and (args[2] & _WRITES if args[1] is None else set(args[1]) & set("wax+")):
        wanted = True
    if wanted:
        events.append(f"{event} {str(args)[:200]}")
        raise PermissionError(f"forbidden here: {event}")


def load_model(folder: Path) -> None:
    """What `plan` and then `train` do with a model folder."""
    source = hub.resolve_model(str(folder))
    base = meta.meta_model(source, head_spec=HEAD_SPEC, four_bit=None, bfloat16=False)
    base.origin.tokenizer("a parcel" + "a" * 30)
    loading.load_model(source, head_spec=HEAD_SPEC)


def load_saved(folder: Path) -> None:
    """What `predict`, `evaluate` and `export` do with the folder that a run saved."""
    predictor.Predictor.load(folder, limit=32, keep_end=False, task=TASK, bfloat16=False).score(["where is my parcel"])


def attempt(load: Any, folder: Path) -> str:
    """`loaded`, `refused: …`, or what must not be."""

    took_too_long = []

    def late(*_: Any) -> None:
        took_too_long.append(True)
        raise TimeoutError

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        watched.append(folder)
        load(folder)
    except UserError as error:
        fault = next((type(one).__name__ for one in chain(error) if is_out_of_memory(one) or isinstance(one, TimeoutError)), "")
        return f"{fault} said as: {error.what}" if fault else f"refused: {error.what}"
    except BaseException as error:
        return f"{type(error).__name__}: {traceback.format_exc(limit=-4)[-1500:]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        watched.clear()
    return "TimeoutError that a library took for its own" if took_too_long else "loaded"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def grab(_: Path) -> None:
    """Twice what is allowed, told as a person would be told."""
    try:
        bytearray(2 * MOST_BYTES)
    except MemoryError:
        raise UserError("not a model config") from None


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """A working folder in which a payload would leave its mark."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def close_the_doors(good: Path) -> None:
    """From here on what a folder does is watched and its memory bounded; each of these is seen, or the result means nothing."""
    bound = hardware._status_bytes("VmSize") + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    sys.addaudithook(hook)
    assert attempt(grab, good).startswith("MemoryError said as: "), "memory that runs out is no refusal"
    for forbidden in (
        lambda folder: pickle.loads(hostile.PICKLES["plain"]),
        lambda folder: (folder / "x").write_text(""),
        lambda folder: os.open(folder / "x", os.O_WRONLY | os.O_CREAT),
        lambda folder: ctypes.CDLL(str(folder / "evil.so")),
    ):
        attempt(forbidden, good)
        assert len(events) == 1, "the hook sees what it is there for"
        events.clear()


def main() -> None:
    """The command."""
    place = Path(sys.argv[1])
    good = tiny.folder(place / "good")
    saved = {name: _save(good, place / name, method_name=name) for name in ("lora", "full")}
    first = [attempt(load_model, good), *(attempt(load_saved, folder) for folder in saved.values())]
    assert set(first) == {"loaded"}, (first, events)
    close_the_doors(good)
    gc.freeze()  # what is imported by now is for ever
    cases = [("model", load_model, good, *case) for case in hostile.models()]
    cases += [("adapter", load_saved, saved["lora"], *case) for case in hostile.adapters()]
    cases += [(f"saved by {name}", load_saved, folder, *case) for name, folder in saved.items() for case in hostile.configs()]
    cases = cases[:: int(sys.argv[2])]
    found, before = [], hardware.peak_resident_bytes()
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
    print(json.dumps({"cases": found, "peak_bytes": hardware.peak_resident_bytes() - before}))


def _save(good: Path, folder: Path, *, method_name: str) -> Path:
    from finewright.methods import build_method
    from finewright.runs import model_folder

    source = hub.resolve_model(str(good))
    base = loading.load_model(source, head_spec=HEAD_SPEC)
    method = build_method(method_name, {})
    prepared_model = method.prepare(base)
    model_folder.save_model(folder, prepared_model=prepared_model, method=method, origin=base.origin, source=source)
    return folder


if __name__ == "__main__":
    main()
