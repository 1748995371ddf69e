"""What a run was asked to do: written before anything else, read again when it goes on, changed only on request."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finewright import config, methods
from finewright.config import Settings
from finewright.errors import ExitCode, UserError
from finewright.methods.base import AbstractMethod

CHANGEABLE = (
    "lr",
    "epochs",
    "max_steps",
    "schedule",
    "early_stopping",
    "evaluations_per_epoch",
    "log_steps",
    "halvings",
    "threads",
    "compile",
)
"""Knobs of `train` that `--change` may set inside a run; all others would make it another run."""
FREE = ("train.checkpoint_steps", "force")
"""Knobs that no result depends on."""
_AND = ", "


@dataclass(frozen=True)
class Order:
    """`source`, `test`: where the data is, absolute for files. `settings`, `ways`: as asked, open knobs still open.

    Of several `ways` the first that fits is taken; only the first has knobs that are not its defaults.
    """

    source: str
    test: str | None
    settings: Settings
    ways: tuple[AbstractMethod, ...]

    @property
    def way(self) -> str:
        """The way's name, or that it is left open."""
        return self.ways[0].name() if len(self.ways) == 1 else methods.AUTO

    def as_json(self) -> dict[str, Any]:
        """By name, JSON-ready."""
        return {
            "source": self.source,
            "test": self.test,
            "settings": self.settings.model_dump(),
            "method": _AND.join(way.name() for way in self.ways),
            "method_knobs": self.ways[0].model_dump(mode="json"),
        }


def make(source: str | Path, *, test: str | Path | None, settings: Settings, ways: Sequence[AbstractMethod]) -> Order:
    """An order whose files are found again from any folder."""
    return Order(_place(source), None if test is None else _place(test), settings, tuple(ways))


def read(values: Mapping[str, Any], *, where: Path) -> Order:
    """What `as_json` made; a damaged one is a `UserError`."""
    try:
        first, *others = values["method"].split(_AND)
        ways = (methods.make(first, values["method_knobs"]), *(methods.make(name, {}) for name in others))
        asked = {**values["settings"], "budget": values["settings"].get("budget") or None}  # none was once written as ""
        return Order(values["source"], values["test"], config.build(Settings, asked), ways)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"it does not say what the run was asked to do ({error})"
        raise UserError(what, where=str(where), fix="begin a new run", code=ExitCode.MISMATCH) from None


def differences(kept: Mapping[str, Any], wanted: Order) -> list[str]:
    """`knob: then → now` for all in which two orders differ, knobs without influence aside."""
    then = flat(read(kept, where=Path("config.json")).as_json())
    now = flat(wanted.as_json())
    return [
        f"{_shown(name)}: {then.get(name)!r} → {now.get(name)!r}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name) and _shown(name) not in FREE
    ]


@dataclass(frozen=True)
class Change:
    """A knob that was set inside a run: `step` updates had been made."""

    knob: str
    before: Any
    after: Any
    step: int = 0

    def as_json(self) -> dict[str, Any]:
        """For config.json and result.json."""
        return {"knob": self.knob, "from": self.before, "to": self.after, "step": self.step}


def resumed(kept: Mapping[str, Any], order: Order, assignments: Sequence[str]) -> tuple[Order, list[Change]]:
    """The order of a later life of a run, and what `--change` changes now. `kept`: the run's config.json.

    What was chosen, and changed, in earlier lives stays so. Knobs that would make it another run are a `UserError`.
    """
    order = replace(order, settings=pinned(order.settings, kept.get("choices", [])))
    if "method" in kept:
        order = replace(order, ways=(methods.make(kept["method"], kept["method_knobs"]),))
    for change in kept.get("changes", []):
        order = _with(order, {change["knob"].removeprefix("train."): change["to"]})
    wanted = {key.removeprefix("train."): value for key, value in flat(config.parse_assignments(assignments)).items()}
    for name in wanted:
        if name not in CHANGEABLE:
            fix = f"begin a new run; inside one can change: {', '.join(CHANGEABLE)}"
            raise UserError(f"{name} cannot change inside a run", where="--change", fix=fix)
    before, order = order.settings.train.model_dump(), _with(order, wanted)
    after = order.settings.train.model_dump()
    return order, [Change(f"train.{name}", before[name], after[name]) for name in wanted if before[name] != after[name]]


def _with(order: Order, knobs: Mapping[str, Any]) -> Order:
    train = config.build(config.TrainKnobs, {**order.settings.train.model_dump(), **knobs}, prefix="train")
    return replace(order, settings=order.settings.model_copy(update={"train": train}))


def pinned(settings: Settings, choices: Sequence[Mapping[str, Any]]) -> Settings:
    """Settings with every open knob at the value that was chosen for it: another machine, or another version's defaults,
    must not choose anew. A choice that is no value of its knob is left out."""
    for choice in choices:
        group, _, name = str(choice["knob"]).rpartition(".")
        tree = settings.model_dump()
        if isinstance(tree.get(group), dict) and name in tree[group]:
            with contextlib.suppress(UserError):
                settings = config.build(Settings, config.merge(tree, {group: {name: choice["value"]}}))
    return settings


def _place(source: str | Path) -> str:
    path = Path(source)
    return str(path.absolute()) if path.exists() else str(source)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups under dotted names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found


def _shown(name: str) -> str:
    """The name a person types."""
    return name.removeprefix("settings.").replace("method_knobs.", "method.")
