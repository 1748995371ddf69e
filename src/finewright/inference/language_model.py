"""A language model to generate with: of a run, an adapter, a model folder, a GGUF file, a package or the hub."""

import contextlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from finewright import tasks
from finewright.core import hardware
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.hardware import Precision
from finewright.core.interrupts import StopRequest
from finewright.data.conversation_shapes import as_prompt
from finewright.data.conversations import Conversation, Message
from finewright.inference import chat_prompts, generation
from finewright.inference.chat_prompts import Messages
from finewright.inference.generation import Generation, GenerationOptions, OnProgress
from finewright.inference.model import choose_device
from finewright.models import adapter_folder, hub

SCORE_TOKENS = 1024
"""Tokens of a batch that is scored, padding included."""


class LanguageModel:
    """A causal language model with its tokenizer, loaded on a device.

    Examples
    --------
    >>> model = load_language_model("runs/answers")  # doctest: +SKIP
    >>> model.generate("What is the capital of France?", max_new_tokens=20)[0].text  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913
        self,
        network: Any,
        tokenizer: Any,
        *,
        name: str,
        bfloat16: bool = False,
        adapter_off: bool = False,
        open_base: Callable[[], Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Use a network of transformers or PEFT.

        `bfloat16`: matrix products of generation run in it; `score` takes the network as it is. `adapter_off`: run the network
        inside PEFT's wrapper as if there were no adapter. `open_base`: loads the network that this one was trained from; None if
        it is the wrapped one, or unknown. `notes`: for the user.
        """
        self.network, self.tokenizer, self.name, self.notes = network, tokenizer, name, list(notes)
        self.bfloat16, self._adapter_off, self._open_base = bfloat16, adapter_off, open_base
        self._end_ids, self._end_texts = chat_prompts.find_ends(tokenizer, self._inner)
        self._base: LanguageModel | None = None

    @property
    def _inner(self) -> Any:
        return self.network.get_base_model() if hasattr(self.network, "peft_config") else self.network

    @property
    def device(self) -> str:
        """Device of the model."""
        return str(self._inner.device)

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template, so that a text is one message of a user."""
        return chat_prompts.has_template(self.tokenizer)

    @property
    def is_tuned(self) -> bool:
        """Whether there is a base that this model was trained from."""
        return not self._adapter_off and (self._open_base is not None or hasattr(self.network, "peft_config"))

    @property
    def base(self) -> "LanguageModel":
        """The model before fine-tuning, with the same tokenizer and chat template: the adapter off, or the base loaded.

        Raise `UserError` if this model is not fine-tuned, or its base is gone.
        """
        if not self.is_tuned:
            fix = "a run or an adapter has a base"
            raise UserError("the model is not fine-tuned, so there is none that it came from", where=self.name, fix=fix)
        if self._base is None:
            network, off = self.network, False
            if self._open_base is not None:
                network = self._open_base()
            elif network.active_peft_config.is_prompt_learning:
                network = network.get_base_model()  # its layers are unchanged, and PEFT's switch would not take the prompt away
            else:
                off = True
            name = f"base of {self.name}"
            self._base = LanguageModel(network, self.tokenizer, name=name, bfloat16=self.bfloat16, adapter_off=off)
        return self._base

    @property
    def _autocasts(self) -> bool:
        """Whether products run in bfloat16 though weights are float32: on a CPU, see `_place`."""
        return self.bfloat16 and self.device == "cpu"

    def generate(
        self,
        prompts: str | Sequence[str | Messages | Conversation],
        *,
        system: str | None = None,
        raw: bool = False,
        on_progress: OnProgress | None = None,
        stop_request: StopRequest | None = None,
        **options: Any,
    ) -> list[Generation]:
        """Return an answer for each prompt, in order.

        Parameters
        ----------
        prompts
            A text, or a list of texts, lists of messages and rows of `dataset.read_prompts`. A text is one message of a user if
            the model has a chat template; otherwise the model continues it. Messages are read as those of training rows are.
        system
            A system message before each prompt; refused where a conversation has one.
        raw
            Continue texts as they are, also with a chat template.
        on_progress, stop_request
            As in `generation.generate_answers`.
        options
            Fields of `GenerationOptions`, such as `max_new_tokens`.

        Raises
        ------
        UserError
            If a prompt or an option is wrong, or memory does not suffice.
        """
        given = [prompts] if isinstance(prompts, str) else prompts
        several = len(given) > 1
        ids = [
            self.encode_prompt(one, system=system, raw=raw, where=f"prompt {number}" if several else "prompt")
            for number, one in enumerate(given, start=1)
        ]
        with self._switched():
            return generation.generate_answers(
                self.network, self.tokenizer, ids, **self._how(options), on_progress=on_progress, stop_request=stop_request
            )

    def chat(self, messages: Messages, **options: Any) -> str:
        """Return the answer to a conversation. `options`: as in `generate`."""
        return self.generate([messages], **options)[0].text

    def stream(self, messages: Messages, **options: Any) -> Generator[str, None, Generation]:
        """Yield the answer to a conversation in pieces; return the `Generation`. `options`: as in `generate`.

        The model must not be used otherwise until the stream has ended or was closed.
        """
        ids = self.encode_prompt(messages)
        with self._switched():
            return (yield from generation.stream_answer(self.network, self.tokenizer, ids, **self._how(options)))

    def _how(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return how answers are generated, as `generation` takes it."""
        return {"options": self._options(options), "end_ids": self._end_ids, "bfloat16": self._autocasts}

    def encode_prompt(
        self, prompt: str | Messages | Conversation, *, system: str | None = None, raw: bool = False, where: str = "prompt"
    ) -> list[int]:
        """Return the tokens that the model is given for a prompt of `generate`: those before an answer in training."""
        row = self._as_row(prompt, where)
        asked = [one for one in row.messages if one.role == "user"]
        if (raw or not self.has_template) and row.form == "instruction" and len(asked) == len(row.messages) == 1:
            row = Conversation(row.text, "", row.where, form="text")
        if raw and row.messages:
            what = "raw prompts are texts, and this is a conversation"
            raise UserError(what, where=row.where, fix="leave out --raw, or give a text")
        if row.form == "text" and (raw or not self.has_template):
            if system:
                what = "a system message needs a chat template" + (" and no raw prompt" if raw else ", and the model has none")
                raise UserError(what, where="--system", fix="write it into the prompt")
            return chat_prompts.encode_text(self.tokenizer, row.text)
        row = as_prompt(row, DataConfig())
        if system:
            row = _add_system(row, system)
        return chat_prompts.encode_conversation(self.tokenizer, row)

    def _as_row(self, prompt: str | Messages | Conversation, where: str) -> Conversation:
        if isinstance(prompt, Conversation):
            return prompt
        if isinstance(prompt, str):
            return Conversation(prompt, "", where, form="text")
        return chat_prompts.as_conversation(prompt, where=where)

    def score(self, prompt: str | Messages, answers: Sequence[str], *, raw: bool = False) -> list[float]:
        """Return the log-likelihood of each answer to a prompt, in nats, summed over its tokens without an end token.

        The best of several possible answers is the one with the highest score; a longer one has a lower score by itself.

        Raises
        ------
        UserError
            If an answer has no tokens.
        """
        plain = isinstance(prompt, str) and (raw or not self.has_template)
        own = self.encode_prompt(prompt, raw=raw)
        rows: list[tuple[list[int], int]] = []
        for number, answer in enumerate(answers, start=1):
            ids = chat_prompts.encode_text(self.tokenizer, str(prompt) + answer) if plain else self._append(own, answer)
            start = len(own)
            if plain:  # tokens may span prompt and answer: then the answer begins where the tokens first differ
                start = next(
                    (at for at, pair in enumerate(zip(own, ids, strict=False)) if pair[0] != pair[1]), min(len(own), len(ids))
                )
            if start >= len(ids):
                raise UserError("the answer has no tokens", where=f"answer {number}", fix="give a text", code=ExitCode.BAD_DATA)
            rows.append((ids, max(1, start)))
        with self._switched():
            return score_texts(self.network, rows)

    def _append(self, prompt: list[int], answer: str) -> list[int]:
        return [*prompt, *self.tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]]

    def _options(self, given: dict[str, Any]) -> GenerationOptions:
        options = GenerationOptions(**given)
        return options.model_copy(update={"stop": (*options.stop_strings, *self._end_texts)})

    @contextlib.contextmanager
    def _switched(self) -> Iterator[None]:
        """Inside, the adapter is off if this is the base of a tuned model."""
        if not self._adapter_off:
            yield
            return
        with self.network.disable_adapter():
            yield


def _add_system(row: Conversation, system: str) -> Conversation:
    """Return a conversation with a system message before it. Raise `UserError` if it has one, or is no conversation."""
    if any(one.role == "system" for one in row.messages):
        what = "the conversation has a system message, and another one is given"
        raise UserError(what, where=row.where, fix="leave out --system, or the message")
    if not row.messages:
        raise UserError("a row of token ids takes no system message", where=row.where, fix="leave out --system")
    return replace(row, messages=(Message("system", system), *row.messages))


def score_texts(network: Any, rows: Sequence[tuple[list[int], int]]) -> list[float]:
    """Return the log-likelihood of the end of each text, in nats. `rows`: its tokens, and where the end begins (1 or later)."""
    from finewright.inference import decoding

    found: list[float] = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda one: len(rows[one][0]))
    with decoding.decoding_mode(network):
        while order:
            longest = len(rows[order[-1]][0])
            some, order = order[-max(1, SCORE_TOKENS // longest) :], order[: -max(1, SCORE_TOKENS // longest)]
            for number, value in zip(some, decoding.score_ends(network, [rows[one] for one in some]), strict=True):
                found[number] = value
    return found


def load_language_model(name: str | Path, *, device: str = "cpu", precision: Precision = "auto") -> LanguageModel:
    """Load a model to generate with.

    Parameters
    ----------
    name
        A run folder, a saved adapter, a model folder, a .gguf file, `package:NAME`, or a hub id.
    device
        `cpu`, `cuda`, `mps`, or `auto`.
    precision
        Of the matrix products in generation: `auto` is what a run was trained in, if the hardware is fast in it, and for other
        models what the hardware is fast in. Weights stay in float32 on a CPU; on a GPU they are in the precision.

    Raises
    ------
    UserError
        If there is no such model, it is one that labels texts, or it cannot be loaded safely.
    """
    device, where = choose_device(device), str(name)
    folder = hub.as_path(where)
    run = _read_run(folder)
    if run is not None and not (folder / "model").is_dir():
        fix = f"`finewright train --resume {where}` continues it"
        raise UserError("this run has no model yet", where=where, fix=fix)
    if run is not None:
        folder = folder / "model"
    bfloat16 = _runs_in_bfloat16(precision, device=device, trained=str((run or {}).get("precision", "bfloat16")))
    if folder.is_dir() and adapter_folder.is_adapter(folder):
        return _load_adapter(folder, name=where, device=device, bfloat16=bfloat16)
    source = hub.resolve_model(str(folder) if run is not None else where)
    network, tokenizer = _load_whole(source, device=device, bfloat16=bfloat16)
    open_base = None
    if run is not None and isinstance(run.get("model"), dict):
        open_base = _base_loader(run["model"], device=device, bfloat16=bfloat16)
    notes = [source.note] if source.note else []
    return LanguageModel(network, tokenizer, name=where, bfloat16=bfloat16, open_base=open_base, notes=notes)


def _runs_in_bfloat16(wanted: Precision, *, device: str, trained: str) -> bool:
    """Whether products run in bfloat16 on a device. `trained`: precision of the run, if the model is one's.

    Raise `UserError` if no such precision is known.
    """
    if wanted not in get_args(Precision):
        raise UserError(f"{wanted!r}, wanted one of {', '.join(get_args(Precision))}", where="precision", fix="one of these")
    if wanted == "auto" and trained != "bfloat16":
        return False
    machine = hardware.describe_cpu() if device == "cpu" else hardware.detect()
    return hardware.choose_precision(wanted, hardware=machine)[0] == "bfloat16"


def _read_run(folder: Path) -> dict[str, Any] | None:
    """Return config.json of a run folder; None if it is none. Raise `UserError` for a run of another task."""
    if not (folder / "checks.json").is_file():
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        task = str(config.get("task") or tasks.DEFAULT)
    except (OSError, ValueError, AttributeError) as error:
        what = f"config.json of the run cannot be read: {error}"
        raise UserError(what, where=str(folder), fix="another run", code=ExitCode.MISMATCH) from None
    if not tasks.get_task(task).generates:
        what = f"this run labels texts (task {task}); it does not generate any"
        raise UserError(what, where=str(folder), fix=f"`finewright predict {folder}`")
    return config


def _base_loader(model: dict[str, Any], *, device: str, bfloat16: bool) -> Callable[[], Any]:
    """Return what loads the network that a run started from."""

    def load() -> Any:
        source = hub.resolve_model(str(model.get("name")), revision=str(model.get("revision") or ""))
        return _load_whole(source, device=device, bfloat16=bfloat16)[0]

    return load


def _load_whole(source: hub.ModelSource, *, device: str, bfloat16: bool) -> tuple[Any, Any]:
    from finewright.models import loading, meta

    network = loading.load_decoder(source, device=device)
    with meta.quiet_libraries():
        tokenizer = meta.load_tokenizer(source.path, network)
    return _place(network, device, bfloat16=bfloat16), tokenizer


def _load_adapter(folder: Path, *, name: str, device: str, bfloat16: bool) -> LanguageModel:
    from finewright.models import loading, meta, quantization

    source = adapter_folder.find_base(folder, loading.read_peft_config(folder))
    four_bit = quantization.read_quantization(folder)
    network = loading.load_decoder(source, four_bit=four_bit, device=device)
    network = loading.add_adapter(network, folder)
    has_tokenizer = any(folder.glob("tokenizer*"))  # other programs save an adapter without one
    with meta.quiet_libraries():
        tokenizer = meta.load_tokenizer(folder if has_tokenizer else source.path, network.get_base_model())
    if four_bit is None:
        network = _place(network, device, bfloat16=bfloat16)
    return LanguageModel(network, tokenizer, name=name, bfloat16=bfloat16)


def _place(network: Any, device: str, *, bfloat16: bool) -> Any:
    """Move a network to its device, on a GPU in its precision."""
    if device.startswith("cuda") and bfloat16:
        import torch

        network = network.to(torch.bfloat16)
    return network.to(device)
