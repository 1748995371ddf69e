"""Use a checkpoint's trained head for other labels: its rows follow the names of the labels, whatever their order."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finewright.core.units import counted
from finewright.models import weight_files

_UNNAMED = re.compile(r"LABEL_\d+")
_OTHER_FORM = "head: the checkpoint's own head has another form, so the head is new"
_NO_NUMBER = "head: the checkpoint's own head was trained for something else, so it is thrown away and the head is new"
_MOST_NAMES = 8
"""Names of labels in a note."""


@dataclass(frozen=True)
class HeadMatch:
    """What a checkpoint's own head has for the labels of the data.

    `kept`: row of the new head → row of the checkpoint's, where both have the same label. `renewed`: modules of the head that get
    random values in place of the checkpoint's. `last`: name of the last linear module, whose rows are the labels. `stored`: the
    checkpoint's weight and bias of it, if some rows are kept and the others not. `note`: what becomes of the head, for the user;
    empty if the checkpoint has none.
    """

    kept: Mapping[int, int]
    renewed: tuple[str, ...]
    last: str
    stored: Mapping[str, torch.Tensor]
    note: str

    @property
    def reuses_head(self) -> bool:
        """Whether any row is the checkpoint's."""
        return bool(self.kept)


def match_head(folder: Path, *, saved: Any, config: Any, head: Sequence[str], network: Any) -> HeadMatch:
    """Compare the head of a checkpoint with the one that is wanted.

    `saved`: the checkpoint's config; `config`: the one with the wanted labels. `head`: modules of the head. `network`: the
    wanted network, which may be on the meta device.
    """
    last = _last_linear_name(network, head)
    prefixes, modules = tuple(f"{module}." for module in head), tuple(head)
    stored = {name: found for name, found in weight_files.stored_shapes(folder).items() if name.startswith(prefixes)}
    if not stored:
        return HeadMatch({}, (), last, {}, "")
    old = row_names(saved)
    wanted = [str(config.id2label[index]) for index in range(len(config.id2label))]
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if name.startswith(prefixes)}
    if not _is_whole(stored, shapes, last=last, num_rows=len(old)):
        return HeadMatch({}, modules, last, {}, _OTHER_FORM)
    if config.problem_type == "regression" != saved.problem_type:
        return HeadMatch({}, modules, last, {}, _NO_NUMBER)
    kept = match_names(old, wanted)
    note = describe_match(old, wanted, kept)
    if kept and saved.problem_type != config.problem_type and saved.problem_type is not None:
        kinds = (saved.problem_type.replace("_", " "), str(config.problem_type).replace("_", " "))
        note += f"; it was trained for {kinds[0]}, its scores now mean {kinds[1]}"
    if not kept:
        return HeadMatch({}, modules, last, {}, note)
    if old == wanted:
        return HeadMatch(kept, (), last, {}, note)
    own = {name.removeprefix(f"{last}."): found[0] for name, found in stored.items() if name.startswith(f"{last}.")}
    return HeadMatch(kept, (last,), last, {part: _read(file, f"{last}.{part}") for part, file in own.items()}, note)


def replace_head(folder: Path, *, head: Sequence[str]) -> HeadMatch:
    """Say that a checkpoint's own head is of no use, where a linear head stands in the place of these modules."""
    prefixes = tuple(f"{module}." for module in head)
    has_one = any(name.startswith(prefixes) for name in weight_files.stored_shapes(folder))
    return HeadMatch({}, (), "", {}, _OTHER_FORM if has_one else "")


def apply_match(network: Any, match: HeadMatch, *, seed: int) -> None:
    """Renew what is not kept of a loaded head, and put the checkpoint's rows in the places of their labels.

    A new row beside kept ones is at most as long as they are on average: a random row may be many times as long as trained ones,
    and its label would drown all others.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in match.renewed:
            _renew(network.get_submodule(name), spread=_initial_spread(network.config), generator=generator)
        if not match.stored:
            return
        put_rows(network.get_submodule(match.last), match.stored, kept=match.kept)


def put_rows(linear: Any, stored: Mapping[str, torch.Tensor], *, kept: Mapping[int, int]) -> None:
    """Put the rows of a stored weight and bias in the places of their labels; the others are fresh, and no longer than these."""
    new, old = list(kept), list(kept.values())
    with torch.no_grad():
        for part, tensor in stored.items():
            target = getattr(linear, part)
            target[new] = tensor[old].to(target)
        if fresh := [row for row in range(linear.weight.shape[0]) if row not in kept]:
            longest = linear.weight[new].norm(dim=1).mean()
            lengths = linear.weight[fresh].norm(dim=1, keepdim=True)
            linear.weight[fresh] *= (longest / lengths.clamp(min=1e-12)).clamp(max=1.0)


def _renew(head: torch.nn.Module, *, spread: float, generator: torch.Generator) -> None:
    """Give a module the random values that transformers gives a head: normal weights without bias, norms of ones."""
    for module in head.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.copy_(torch.empty(module.weight.shape).normal_(std=spread, generator=generator))
            if module.bias is not None:
                module.bias.zero_()
        elif any(True for _ in module.parameters(recurse=False)):
            module.reset_parameters()  # type: ignore[operator]


def _initial_spread(config: Any) -> float:
    return float(getattr(config, "initializer_range", None) or getattr(config, "init_std", None) or 0.02)


def _last_linear_name(network: Any, head: Sequence[str]) -> str:
    last = network.get_submodule(head[-1])
    names = [name for name, module in last.named_modules() if isinstance(module, torch.nn.Linear)]
    return ".".join(part for part in (head[-1], names[-1]) if part)


def match_names(old: Sequence[str], wanted: Sequence[str]) -> dict[int, int]:
    """Return the row of the wanted head → row of the old one, where both have a label of the same name."""
    rows = {name: row for row, name in enumerate(old) if old.count(name) == 1}
    return {row: rows[name] for row, name in enumerate(wanted) if name in rows}


def row_names(saved: Any) -> list[str]:
    """Return the label of each row of the checkpoint's head; empty if its config does not name them one by one."""
    names = {int(index): str(name) for index, name in (saved.id2label or {}).items()}
    return [names[row] for row in range(len(names))] if set(names) == set(range(len(names))) else []


def _is_whole(stored: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], *, last: str, num_rows: int) -> bool:
    """Whether a checkpoint has every tensor of the head, in the wanted shape but for the number of labels."""
    for name, shape in wanted.items():
        expected = (num_rows, *shape[1:]) if name.startswith(f"{last}.") else shape
        if name not in stored or stored[name][1] != expected:
            return False
    return True


def _read(file: Path, name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name).float()


def describe_match(old: Sequence[str], wanted: Sequence[str], kept: Mapping[int, int]) -> str:
    """Return what becomes of a checkpoint's head, for the user. `kept`: as in `HeadMatch`."""
    if list(old) == list(wanted):
        return "head: the checkpoint's own head has these labels and is used"
    if len(kept) == len(wanted) == len(old):
        return "head: the checkpoint's own head has these labels in another order; its rows are kept by name"
    new, lost = [name for row, name in enumerate(wanted) if row not in kept], [name for name in old if name not in wanted]
    if kept:
        parts = [f"kept from the checkpoint's head: {_list(wanted[row] for row in kept)}"]
        parts += [f"new: {_list(new)}"] if new else []
        parts += [f"thrown away: {_list(lost)}"] if lost else []
        return f"head: {'; '.join(parts)}"
    if all(_UNNAMED.fullmatch(name) for name in old):
        labels = counted(len(old), "label")
        return f"head: the checkpoint's own head does not name its {labels}, so it is thrown away and the head is new"
    return f"head: the checkpoint's own head has other labels ({_list(old)}), so it is thrown away and the head is new"


def _list(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"
