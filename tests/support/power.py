"""What may be on disk after a power cut: everything that was synced, and any part of what was not."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Node:
    """A file or a folder, under any name. `states`: (call number, content) of a file as written and as synced."""

    is_folder: bool
    written: list[tuple[int, bytes]] = field(default_factory=lambda: [(0, b"")])
    synced: list[tuple[int, bytes]] = field(default_factory=lambda: [(0, b"")])


@dataclass
class Change:
    """A name added or removed in folders; `synced` is the call number from which it is safe."""

    at: int
    kind: str
    node: Node
    old: tuple[int, str] | None
    new: tuple[int, str] | None
    synced: float = float("inf")


Names = dict[int, dict[str, Node]]


class Recorder:
    """A replacement of `os` in `core.files` that records the order of writes, names and syncs below `root`."""

    def __init__(self, root: Path) -> None:
        self.calls, self.changes = 0, list[Change]()
        self.nodes: dict[int, Node] = {}
        self.descriptors: dict[int, Node] = {}
        self.root, self.top = root, self._known(root)
        self.before = self._copy(self.now)

    def _known(self, folder: Path) -> Node:
        """Record what exists at the start as synced."""
        node = Node(is_folder=True)
        self.now: Names = getattr(self, "now", {})
        self.nodes[id(node)] = node
        self.now[id(node)] = {}
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                self.now[id(node)][path.name] = self._known(path)
            else:
                content = path.read_bytes()
                self.now[id(node)][path.name] = Node(False, [(0, content)], [(0, content)])
        return node

    @staticmethod
    def _copy(names: Names) -> Names:
        return {folder: dict(entries) for folder, entries in names.items()}

    def _find(self, path: Path) -> Node:
        node = self.top
        for part in path.relative_to(self.root).parts:
            node = self.now[id(node)][part]
        return node

    def _change(self, kind: str, node: Node, *, old: Path | None = None, new: Path | None = None) -> None:
        places = [None if path is None else (id(self._find(path.parent)), path.name) for path in (old, new)]
        change = Change(self.calls, kind, node, *places)
        self.changes.append(change)
        _apply(change, self.now)

    def __getattr__(self, name: str) -> Any:
        honest = getattr(os, name)
        if not callable(honest):
            return honest

        def called(*args: Any, **options: Any) -> Any:
            self.calls += 1
            result = honest(*args, **options)
            getattr(self, f"_after_{name}", lambda *_: None)(result, *args)
            return result

        return called

    def _after_open(self, descriptor: int, path: Path, flags: int, *_: Any) -> None:
        if flags & os.O_CREAT and path.name not in self.now[id(self._find(path.parent))]:
            self._change("name", Node(is_folder=False), new=path)
        self.descriptors[descriptor] = self._find(path)

    def _after_write(self, count: int, descriptor: int, data: Any) -> None:
        node = self.descriptors[descriptor]
        node.written.append((self.calls, node.written[-1][1] + bytes(data)[:count]))

    def _after_fsync(self, _: Any, descriptor: int) -> None:
        node = self.descriptors[descriptor]
        if not node.is_folder:
            node.synced.append((self.calls, node.written[-1][1]))
            return
        for change in self.changes:
            if id(node) in {place[0] for place in (change.old, change.new) if place} and change.synced == float("inf"):
                change.synced = self.calls

    def _after_makedirs(self, _: Any, path: Path, *__: Any) -> None:
        if path == self.root:
            return
        self._after_makedirs(None, path.parent)
        if path.name not in self.now[id(self._find(path.parent))]:
            node = Node(is_folder=True)
            self.nodes[id(node)] = node
            self.now[id(node)] = {}
            self._change("name", node, new=path)

    def _after_rename(self, _: Any, old: Path, new: Path) -> None:
        self._change("rename", self._find(old), old=old, new=new)

    def _after_unlink(self, _: Any, path: Path) -> None:
        self._change("forget", self._find(path), old=path)

    _after_rmdir = _after_unlink

    def states(self) -> Iterator[tuple[int, dict[str, bytes]]]:
        """(number of calls made, files by path) for every cut of power: what was not synced there whole, half, as zeros or
        not at all, and its names all there, none, all but one, one alone."""
        seen = set()
        for at in range(self.calls + 1):
            made = [change for change in self.changes if change.at <= at]
            loose = [change for change in made if change.synced > at]
            kept = [set(), {id(change) for change in loose}]
            kept += [{id(change)} for change in loose] + [{id(other) for other in loose if other is not one} for one in loose]
            for choice in kept:
                names = self._copy(self.before) | {folder: {} for folder in self.now if folder not in self.before}
                for change in made:
                    if change.synced <= at or id(change) in choice:
                        _apply(change, names)
                for damage in ("whole", "half", "zeros", "nothing"):
                    files = dict(_files(self.top, names, at=at, damage=damage))
                    key = (at == self.calls, tuple(sorted(files.items())))
                    if key not in seen:
                        seen.add(key)
                        yield at, files


def _apply(change: Change, names: Names) -> None:
    """Apply a change; a name can be moved or removed only where it exists."""
    if change.old is not None and names[change.old[0]].pop(change.old[1], None) is None:
        return
    if change.new is not None:
        names[change.new[0]][change.new[1]] = change.node


def _files(folder: Node, names: Names, *, at: int, damage: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for name, node in names[id(folder)].items():
        if node.is_folder:
            yield f"{prefix}{name}/", b""
            yield from _files(node, names, at=at, damage=damage, prefix=f"{prefix}{name}/")
            continue
        written = next(content for call, content in reversed(node.written) if call <= at)
        synced = next(content for call, content in reversed(node.synced) if call <= at)
        rest = written[len(synced) :]
        left = {"whole": rest, "half": rest[: len(rest) // 2], "zeros": bytes(len(rest)), "nothing": b""}[damage]
        yield prefix + name, synced + left


def put(files: dict[str, bytes], root: Path) -> None:
    """Make a folder of these files."""
    root.mkdir()
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
