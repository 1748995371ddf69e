"""The name of a model → a folder on this disk: a local folder, the embedded model, or a snapshot from the hub."""

import difflib
import hashlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright.errors import ExitCode, UserError

EMBEDDED = "mini"
_EMBEDDED_FOLDER = Path(__file__).parent / "content" / EMBEDDED
_WANTED = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab*", "merges.txt"]
_WANTED += ["special_tokens_map.json", "added_tokens.json", "*.model"]
_UNWANTED = ["*/*", "consolidated*"]
"""Only top-level files, no pickles, no code: what is not needed is not fetched."""
_OLD_NAMES = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "distilgpt2": "distilbert/distilgpt2",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-cased": "google-bert/bert-base-cased",
    "roberta-base": "FacebookAI/roberta-base",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
}
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_OTHER_MODELS = f"--model {EMBEDDED} (embedded) or --model path/to/a/folder need no network"
_TIMEOUT_SECONDS = 10

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Source:
    """Where a model lies. `name`: what finds it again; `revision`: the resolved commit, empty for folders."""

    path: Path
    name: str
    revision: str


def resolve(name: str, *, revision: str = "", progress: Progress | None = None) -> Source:
    """The folder of a model, downloaded first when it is a hub id that is not in the cache.

    `progress(name, done_bytes, total_bytes)` hears of a download. Nothing there, nothing reachable or nothing safe to
    load is a `UserError`.
    """
    if name == EMBEDDED and not Path(name).is_dir():
        return _embedded()
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_folder(folder)
        return Source(path=folder, name=str(folder.resolve()), revision="")
    if not _ID.fullmatch(name) or name.startswith("."):
        near = difflib.get_close_matches(folder.name, _siblings(folder), n=1)
        hint = f"did you mean {folder.parent / near[0]}? " if near else ""
        raise UserError("no such model folder", where=name, fix=f"{hint}a folder with config.json, or a hub id such as gpt2")
    identity = _OLD_NAMES.get(name, name)
    path = _snapshot(identity, revision=revision, progress=progress)
    check_folder(path)
    return Source(path=path, name=identity, revision=path.name)


def check_folder(folder: Path) -> None:
    """The folder must hold a config and weights that can be read without running code."""
    if not (folder / "config.json").is_file():
        raise UserError("the folder has no config.json", where=str(folder), fix="give the folder of a Hugging Face model")
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"{pickles[0]} is a pickle, which can run code when it is opened; it is not opened",
            where=str(folder),
            fix="save the model as safetensors (save_pretrained does) or take one that is",
        )
    raise UserError("the folder has no *.safetensors", where=str(folder), fix="save the model there with save_pretrained")


def _embedded() -> Source:
    if not (_EMBEDDED_FOLDER / "config.json").is_file():
        raise UserError(f"this build has no embedded model {EMBEDDED!r} yet", where="--model", fix="a local folder or a hub id")
    return Source(path=_EMBEDDED_FOLDER, name=EMBEDDED, revision="")


def _siblings(folder: Path) -> list[str]:
    return [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []


def _snapshot(identity: str, *, revision: str, progress: Progress | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    counter = _counter(identity, progress)
    try:
        path = snapshot_download(
            identity,
            revision=revision or None,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            etag_timeout=_TIMEOUT_SECONDS,
            tqdm_class=counter,
        )
    except errors.GatedRepoError:
        raise _refusal(
            "the hub wants you to accept this model's terms first", identity, "open its page, then `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise _refusal("the hub knows no such model, or it is private", identity, "check the name, or `hf auth login`") from None
    except errors.RevisionNotFoundError:
        raise _refusal(f"the model has no revision {revision!r}", identity, "take another revision") from None
    except errors.LocalEntryNotFoundError as error:
        raise _refusal(f"not in the cache, and the hub {_why(error)}", identity, _OTHER_MODELS) from None
    except Exception as error:  # the client's network layer has errors of its own, which differ between versions
        if _status(error) in (401, 403):
            raise _refusal(
                "the hub knows no such model, or it is private", identity, "check the name, or `hf auth login`"
            ) from None
        raise _refusal(f"the download failed: {_first_line(error)}", identity, f"try again; {_OTHER_MODELS}") from None
    if counter.fetched_bytes:
        _verify(Path(path), identity)
    return Path(path)


def _refusal(what: str, identity: str, fix: str) -> UserError:
    return UserError(what, where=identity, fix=fix, code=ExitCode.USAGE)


def _status(error: BaseException | None) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _why(error: Exception) -> str:
    if status := _status(error.__cause__):
        return f"answers with {status}"
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    return "is switched off (HF_HUB_OFFLINE)" if offline else "cannot be reached"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _verify(path: Path, identity: str) -> None:
    """A large file's name in the cache is its SHA-256: hash what has just been fetched, once."""
    for link in sorted(path.iterdir()):
        blob = link.resolve()
        if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
            continue
        with open(blob, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if digest != blob.name:
            blob.unlink()
            link.unlink(missing_ok=True)
            raise _refusal(f"{link.name} arrived damaged and was deleted", identity, "run the command again to fetch it anew")


def _counter(identity: str, progress: Progress | None) -> Any:
    """A bar that draws nothing: the client updates it, `progress` hears the bytes."""
    from tqdm import tqdm

    class Counter(tqdm):
        fetched_bytes = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B" and "Reconstructing" in str(options.get("desc"))
            quiet: Any = {**options, "file": io.StringIO(), "mininterval": 0}
            super().__init__(*args, **quiet)

        def update(self, n: float | None = 1) -> bool | None:
            drawn = super().update(n)
            if self._counts_bytes:
                Counter.fetched_bytes += int(n or 0)
                if progress is not None:
                    progress(identity, int(self.n), int(self.total or 0))
            return drawn

    return Counter
