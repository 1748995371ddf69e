"""The fingerprint of a run: model, data, labels and options, which must be the same when it is resumed."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright import methods
from finewright.baselines.base import Baseline
from finewright.core.config import RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.methods.base import Method
from finewright.models import hub, provenance
from finewright.runs.request import CHANGEABLE, FREE, flatten
from finewright.runs.schema import Change

if TYPE_CHECKING:
    from finewright.data.packing import EncodedSplit

MOST_ROW_GROUPS = 1000
"""Most groups of rows that are hashed: up to this many rows, a changed one is named exactly."""
_SHOWN = 60
_AT_ONCE = 1 << 20
"""Tokens that are hashed at once, as int64: runs of earlier versions were hashed so."""


def make_fingerprint(
    *,
    source: hub.ModelSource,
    dataset: Dataset,
    splits: "Mapping[str, EncodedSplit]",
    settings: RunConfig,
    method: Method,
    device: str,
) -> dict[str, Any]:
    """Return everything a result depends on except the versions of the libraries. `settings`: with no option left open.

    A memory budget is left out: it only led to choices, which are among the settings.
    """
    options = {
        name: value for name, value in flatten(settings.model_dump()).items() if name not in (*FREE, "model", "memory_budget")
    }
    schedule = {name: options.pop(name) for name in [f"training.{short}" for short in CHANGEABLE]}
    weights = {"revision": source.revision} if source.revision else provenance.weight_digests(source.path)
    return {
        "model": {**weights, "config.json": _digest((source.path / "config.json").read_bytes())},
        "tokens": _digest(b"".join(_tokens(splits[name]) for name in sorted(splits))),
        "labels": list(dataset.labels),
        "data": {name: _rows(getattr(dataset, name)) for name in ("train", "validation", "test")},
        "method": method.name(),
        "method_options": method.model_dump(mode="json"),
        "options": options,
        "schedule": schedule,
        "device": device,
    }


def make_baseline_fingerprint(
    *, source: hub.ModelSource | None, dataset: Dataset, settings: RunConfig, baseline: Baseline
) -> dict[str, Any]:
    """Return everything that a fitted baseline depends on except the versions of the libraries. `source`: the model it reads."""
    options = {name: value for name, value in flatten(settings.model_dump()).items() if name not in (*FREE, "model")}
    return {
        "model": provenance.base_identity(source) if source else {},
        "labels": list(dataset.labels),
        "data": {name: _rows(getattr(dataset, name)) for name in ("train", "validation", "test")},
        "method": baseline.name(),
        "method_options": baseline.model_dump(mode="json"),
        "options": options,
        "schedule": {},
        "device": "cpu",
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tokens(split: "EncodedSplit") -> bytes:
    """Return hashes of the lengths of the texts of a split, in tokens, and of the tokens."""
    digests = []
    trained = () if split.trained is None else (np.concatenate([np.zeros(0, dtype=bool), *split.trained]),)
    parts = () if split.parts is None else (split.parts.reshape(-1),)
    for numbers in (np.array(split.lengths, dtype=np.int64), split.flat(), *trained, *parts):
        digest = hashlib.sha256()
        for start in range(0, len(numbers), _AT_ONCE):
            digest.update(numbers[start : start + _AT_ONCE].astype(np.int64).data)
        digests.append(digest.digest())
    return b"".join(digests)


def _rows(rows: Sequence[Example]) -> dict[str, Any]:
    """Return the number of rows and a hash of each group of consecutive rows."""
    size = max(1, -(-len(rows) // MOST_ROW_GROUPS))
    groups = (rows[start : start + size] for start in range(0, len(rows), size))
    texts = ("".join(row.contents() for row in group) for group in groups)
    return {"rows": len(rows), "block_rows": size, "blocks": [_digest(text.encode())[:16] for text in texts]}


def check_same_run(then: Mapping[str, Any], now: Mapping[str, Any], *, dataset: Dataset, where: str) -> None:
    """Raise `UserError` with every difference from the run that was started. The schedule is checked elsewhere."""
    found = [*_data_differences(then["data"], now["data"], dataset=dataset), *differences(then, now)]
    if found:
        what = "the run was started with something else:\n" + "\n".join(f"  {line}" for line in found[:20])
        fix = "bring it back, or start a new run with another --out"
        raise UserError(what, where=where, fix=fix, code=ExitCode.MISMATCH)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return `what: then → now` for everything but data and schedule. An option that is new since had its default."""
    new = flatten(_without_data(now))
    old = flatten(_without_data(then))
    if any(name not in old for name in new):
        old = _add_new_options(old, new, _default_options(method=str(then.get("method"))))
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if "tokens" in changed and (len(changed) > 1 or then["data"] != now["data"]):
        changed.remove("tokens")  # follows from the others
    return [_describe_difference(name, old.get(name), new.get(name)) for name in changed]


def _add_new_options(then: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return `then` with the options that its version did not have, at their defaults. Where the default is that the program
    chooses, the option takes the value that was chosen now."""
    new = {name: value for name, value in now.items() if name not in then and name in defaults}
    return {**then, **{name: value if defaults[name] in (None, "auto") else defaults[name] for name, value in new.items()}}


def _default_options(*, method: str) -> dict[str, Any]:
    """Return the default of every option, by its name in the fingerprint."""
    own = methods.build_method(method, {}).model_dump(mode="json") if method in methods.method_names() else {}
    return flatten({"options": RunConfig().model_dump(), "method_options": own})


def summarise(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint without the hashes of single rows, as a checkpoint holds it."""
    data = {
        split: {"rows": rows["rows"], "sha256": _digest("".join(rows["blocks"]).encode())}
        for split, rows in fingerprint["data"].items()
    }
    return {**fingerprint, "data": data}


def _without_data(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fingerprint.items() if key not in ("data", "schedule")}


def _describe_difference(name: str, then: Any, now: Any) -> str:
    if name == "tokens":
        return "tokenizer: the same texts become other tokens"
    if name.startswith("model."):
        return f"model: {name.removeprefix('model.')} is another one ({_shorten(then)} → {_shorten(now)})"
    if name == "labels":
        gone, new = [label for label in then if label not in now], [label for label in now if label not in then]
        signs = [*(f"−{label!r}" for label in gone), *(f"+{label!r}" for label in new)]
        return f"labels: {', '.join(signs)[: _SHOWN * 2] or 'in another order'}"
    shown = name.removeprefix("options.").replace("method_options.", "method.")
    return f"{shown}: {then!r:.60} → {now!r:.60}"


def _shorten(value: Any) -> str:
    return "none" if value is None else str(value)[:12]


def _data_differences(then: Mapping[str, Any], now: Mapping[str, Any], *, dataset: Dataset) -> list[str]:
    found = []
    for split, old in then.items():
        new, rows = now[split], getattr(dataset, split)
        if old == new:
            continue
        more = new["rows"] - old["rows"]
        counted = f"{old['rows']:,} → {new['rows']:,} rows ({more:+,})" if more else f"{new['rows']:,} rows as before"
        first = next((index for index, (a, b) in enumerate(zip(old["blocks"], new["blocks"], strict=False)) if a != b), None)
        if old["block_rows"] != new["block_rows"]:
            first = None
        place = ""
        if first is not None and rows:
            start = first * new["block_rows"]
            last = min(start + new["block_rows"], len(rows)) - 1
            place = f", the first other one is {rows[start].where}" + (f" to {rows[last].where}" if last > start else "")
        found.append(f"data: {split} has {counted}{place}")
    return found


def environment_warnings(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return warnings about differences that do not forbid resuming: other versions, another processor."""
    old, new = flatten(then), flatten(now)
    changed = [f"{name.removeprefix('versions.')} {_shorten(old.get(name))} → {_shorten(new.get(name))}" for name in new]
    changed = [line for name, line in zip(new, changed, strict=True) if old.get(name) != new[name]]
    if not changed:
        return []
    return [f"the result will not be bit for bit that of an uninterrupted run: {', '.join(changed)}"]


def check_schedule(then: Mapping[str, Any], now: Mapping[str, Any], changes: Sequence[Change], *, where: str) -> None:
    """Raise `UserError` if the schedule is not the checkpoint's, unless every difference was requested with `--change`."""
    requested = {change.option: change.after for change in changes}
    then = _add_new_options(then, now, flatten(RunConfig().model_dump()))
    changed = [name for name, value in now.items() if then.get(name) != value and requested.get(name) != value]
    if changed:
        what = "; ".join(f"{name}: {then.get(name)!r} → {now[name]!r}" for name in changed)
        short = " ".join(f"--change {name.removeprefix('training.')}={now[name]}" for name in changed)
        raise UserError(f"the run was started with another schedule: {what}", where=where, fix=short, code=ExitCode.MISMATCH)
