"""Generate answers with a causal language model in memory: options, batches, and one answer as a stream."""

import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from finewright.core import hardware, oom
from finewright.core.config import Options, option
from finewright.core.errors import ExitCode, UserError
from finewright.core.interrupts import Interrupted, StopRequest

if TYPE_CHECKING:
    import torch

    from finewright.inference.answer_schema import SchemaMatcher
    from finewright.inference.decoding import Decoder

CACHE_SHARE = 0.25
"""Share of the free memory that the keys and values of a batch may take."""
MOST_ROWS = {"cpu": 64}
"""Most answers of a batch by device; elsewhere `_MOST_ROWS_ELSEWHERE`. With SmolLM2-135M on one core a token takes 37 ms alone,
4.4 ms in a batch of 32, and 3.5 ms in one of 64 (float32)."""
_MOST_ROWS_ELSEWHERE = 128
_LOGIT_COPIES = 6
"""Copies of a row of outputs that exist at once while a token is chosen."""

OnProgress = Callable[[int, int, int], None]
"""Called with the answers done, all answers, and the tokens generated so far, those of unfinished answers included."""


class GenerationOptions(Options):
    """How answers are generated."""

    max_new_tokens: int = option(256, "longest answer in tokens", low=1, high=1_000_000, flag="--max-new-tokens")
    temperature: float = option(
        0.0,
        "0: always the most probable token; above, tokens are drawn, more freely the higher",
        low=0,
        high=100,
        flag="--temperature",
    )
    top_p: float = option(
        1.0, "draw from the most probable tokens that together have this probability; 1: from all", low=0, high=1, flag="--top-p"
    )
    top_k: int = option(0, "draw from this many of the most probable tokens; 0: from all", low=0, flag="--top-k")
    repetition_penalty: float = option(
        1.0, "above 1, tokens that occurred become less probable", low=0.01, high=100, flag="--repetition-penalty"
    )
    stop: str | tuple[str, ...] = option((), "text that ends an answer and is not part of it; may be repeated", flag="--stop")
    seed: int = option(0, "seed of what is drawn; prompts at other places of the list draw differently", low=0, flag="--seed")
    json_schema: dict[str, Any] | None = Field(None, description="JSON schema that every answer must fit")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        found = (self.stop,) if isinstance(self.stop, str) else self.stop
        return tuple(one for one in found if one)


@dataclass(frozen=True)
class Generation:
    """One answer. `ids`: its tokens without the end token. `finish_reason`: `stop` if the model ended the answer or a stop
    string came, `length` if it was cut."""

    text: str
    ids: tuple[int, ...]
    num_tokens: int
    finish_reason: Literal["stop", "length"]


@dataclass
class _Answer:
    """An answer that is being generated. `limit`: most tokens that it may have."""

    number: int
    prompt: Sequence[int]
    text: Any
    draw: random.Random
    limit: int
    matcher: "SchemaMatcher | None" = None
    ids: list[int] = field(default_factory=list)
    finish_reason: Literal["", "stop", "length"] = ""

    def take(self, token: int, end_ids: frozenset[int]) -> str:
        """Add a token; return the text that it releases."""
        if token in end_ids:
            self.finish_reason = "stop"
            return self.text.finish()
        self.ids.append(token)
        released = self.text.append(token)
        if self.text.stopped or (self.matcher is not None and self.matcher.take(token)):
            self.finish_reason = "stop"
        elif len(self.ids) >= self.limit:
            self.finish_reason = "length"
        if self.finish_reason:
            released += self.text.finish()
            if self.text.stopped:
                self.finish_reason = "stop"
        return released

    def as_generation(self) -> Generation:
        """Return the finished answer."""
        assert self.finish_reason, "the answer is finished"
        return Generation(self.text.text, tuple(self.ids), len(self.ids), self.finish_reason)


def generate_answers(  # noqa: PLR0913  a network, what it reads, and how
    network: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    options: GenerationOptions | None = None,
    end_ids: Sequence[int],
    bfloat16: bool = False,
    on_progress: OnProgress | None = None,
    stop_request: StopRequest | None = None,
) -> list[Generation]:
    """Return an answer for each prompt, in order.

    The network may be in the middle of training: its mode, its attention function and the state of all random numbers are
    afterwards what they were. In float32 an answer does not depend on the other prompts of its batch. One that is drawn depends
    on the seed and the prompt's place in the list.

    Parameters
    ----------
    network
        A causal language model of transformers, or PEFT's wrapper around one with low-rank updates or a trained prompt.
    tokenizer
        Decodes the answers.
    prompts
        Token ids of each prompt, one or more, with all special tokens. They are padded on the left, and padding is masked.
    end_ids
        Tokens that end an answer. Those of the network's own generation config are not looked at.
    bfloat16
        Run matrix products in bfloat16 (autocast).
    on_progress
        Called after each token of a batch.
    stop_request
        Looked at before every token.

    Raises
    ------
    UserError
        If a prompt is empty or too long for the model, the outputs are not finite, or memory does not suffice for one answer.
    Interrupted
        If a stop was requested.
    """
    from finewright.inference import decoding

    options = options or GenerationOptions()
    limits = answer_limits(network, prompts, options=options)
    ends = frozenset(end_ids)

    def answer_batch(numbers: Sequence[int], answers: Mapping[int, Generation]) -> dict[int, Generation]:
        found: dict[int, Generation] = {}
        num_tokens = sum(one.num_tokens for one in answers.values())
        batch = _start_answers(tokenizer, prompts, numbers, limits=limits, options=options, vocabulary=vocabulary)
        for finished, count in _decode_batch(network, batch, options=options, ends=ends, bfloat16=bfloat16):
            if stop_request is not None and stop_request.requested:
                raise Interrupted(stop_request.number)
            num_tokens += count
            found |= {answer.number: answer.as_generation() for answer in finished}
            if on_progress is not None:
                on_progress(len(answers) + len(found), len(prompts), num_tokens)
        return found

    vocabulary = _make_vocabulary(tokenizer, options=options, end_ids=end_ids)
    with decoding.decoding_mode(network):
        answers = _answer_in_batches(network, prompts, answer_batch, limits=limits)
    return [answers[number] for number in range(len(prompts))]


def _answer_in_batches(
    network: Any,
    prompts: Sequence[Sequence[int]],
    answer_batch: Callable[[Sequence[int], Mapping[int, Generation]], dict[int, Generation]],
    *,
    limits: Sequence[int],
) -> dict[int, Generation]:
    """Return the answers by number of their prompt. Where memory does not suffice for a batch, all that wait are halved.

    `answer_batch`: gets the numbers of a batch, and the answers so far.
    """
    from finewright.inference import decoding

    answers: dict[int, Generation] = {}
    waiting = plan_batches(network, [len(ids) for ids in prompts], limits)
    while waiting:
        numbers = waiting.pop(0)
        found = oom.run_or_none(lambda some=numbers: answer_batch(some, answers))
        if found is None:
            oom.release_memory(decoding.base_of(network).get_input_embeddings().weight.device.type)
            if len(numbers) == 1:
                raise _out_of_memory(numbers[0], prompts, limits)
            half = (len(numbers) + 1) // 2
            waiting = [some[at : at + half] for some in (numbers, *waiting) for at in range(0, len(some), half)]
            continue
        answers.update(found)
    return answers


def stream_answer(
    network: Any,
    tokenizer: Any,
    prompt: Sequence[int],
    *,
    options: GenerationOptions | None = None,
    end_ids: Sequence[int],
    bfloat16: bool = False,
) -> Generator[str, None, Generation]:
    """Yield the text of one answer while it is generated, in pieces of whole characters; return the `Generation`.

    The arguments are those of `generate_answers`. Until the stream ends or is closed the network stays in evaluation mode.
    """
    from finewright.inference import decoding

    options = options or GenerationOptions()
    limits = answer_limits(network, [prompt], options=options)
    vocabulary = _make_vocabulary(tokenizer, options=options, end_ids=end_ids)
    (answer,) = batch = _start_answers(tokenizer, [prompt], [0], limits=limits, options=options, vocabulary=vocabulary)
    pieces: list[str] = []
    with decoding.decoding_mode(network):
        steps = _decode_batch(network, batch, options=options, ends=frozenset(end_ids), bfloat16=bfloat16, pieces=pieces)
        while oom.run_or_none(lambda: next(steps)) is not None:
            text = "".join(pieces)
            pieces.clear()
            if text:
                yield text
            if answer.finish_reason:
                return answer.as_generation()
    raise _out_of_memory(0, [prompt], limits)


def answer_limits(network: Any, prompts: Sequence[Sequence[int]], *, options: GenerationOptions) -> list[int]:
    """Return the most tokens that the answer to each prompt may have, by the options and by what the model can read.

    Raise `UserError` for a prompt that is empty, or leaves no place for an answer.
    """
    from finewright.inference import decoding

    most = _most_positions(decoding.base_of(network).config)
    extra = decoding.prompt_length(network)
    limits = []
    for number, ids in enumerate(prompts, start=1):
        where = f"prompt {number}"
        if not ids:
            raise UserError("the prompt has no tokens", where=where, fix="leave it out", code=ExitCode.BAD_DATA)
        left = options.max_new_tokens if most is None else min(options.max_new_tokens, most - len(ids) - extra)
        if left < 1:
            what = f"the prompt has {len(ids) + extra:,} tokens, and the model reads at most {most:,} with the answer"
            raise UserError(what, where=where, fix="shorten the prompt", code=ExitCode.BAD_DATA)
        limits.append(left)
    return limits


def _most_positions(config: Any) -> int | None:
    """Return the most tokens that a model reads; None where the config names no limit."""
    from finewright.models.architectures.base import NO_LIMIT

    config = config.get_text_config(decoder=True)
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
    return found if isinstance(found, int) and found != NO_LIMIT else None


def plan_batches(network: Any, lengths: Sequence[int], limits: Sequence[int]) -> list[list[int]]:
    """Return the places of prompts by batch, those of similar length together, as many as memory and device favour.

    `lengths`, `limits`: tokens of each prompt, and of its longest answer.
    """
    from finewright.inference import decoding

    base = decoding.base_of(network)
    weight = base.get_input_embeddings().weight
    device = weight.device.type
    room = CACHE_SHARE * hardware.free_bytes(device)
    token_bytes = 2 * cache_bytes_per_token(base.config, itemsize=weight.element_size())  # growing a cache copies it
    row_bytes = _LOGIT_COPIES * 4 * weight.shape[0]
    most = most_rows(device)
    equal = _needs_equal_lengths(base.config)
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        current = batches[-1] if batches else []
        tokens = max((lengths[one] for one in current), default=0) + max(limits[one] for one in [*current, number])
        fits = (len(current) + 1) * (tokens * token_bytes + row_bytes) <= room
        if current and fits and len(current) < most and not (equal and lengths[number] != lengths[current[0]]):
            current.append(number)
        else:
            batches.append([number])
    return batches


def cache_bytes_per_token(config: Any, *, itemsize: int) -> int:
    """Return the bytes of the keys and values of one token in all layers, of a model whose layers all have attention."""
    config = config.get_text_config(decoder=True)
    num_heads = getattr(config, "num_attention_heads", 1)
    width = getattr(config, "head_dim", None) or config.hidden_size // num_heads
    key_heads = getattr(config, "num_key_value_heads", None) or num_heads
    return 2 * config.num_hidden_layers * key_heads * width * itemsize


def most_rows(device: str) -> int:
    """Return the most answers of a batch on a device."""
    return MOST_ROWS.get(device, _MOST_ROWS_ELSEWHERE)


def _needs_equal_lengths(config: Any) -> bool:
    """Whether padding would change the states of a text."""
    from finewright.models import architectures

    return architectures.architecture_of(config).needs_equal_lengths


def _start_answers(  # noqa: PLR0913
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    *,
    limits: Sequence[int],
    options: GenerationOptions,
    vocabulary: Any,
) -> list[_Answer]:
    from finewright.inference.answer_text import AnswerText

    return [
        _Answer(
            number,
            prompts[number],
            AnswerText(tokenizer, prompts[number], stop=options.stop_strings),
            random.Random(f"{options.seed} {number}"),
            limits[number],
            None if vocabulary is None else vocabulary.start(),
        )
        for number in numbers
    ]


def _make_vocabulary(tokenizer: Any, *, options: GenerationOptions, end_ids: Sequence[int]) -> Any:
    """Return what makes a matcher of the schema for each answer; None without a schema."""
    if options.json_schema is None:
        return None
    from finewright.inference import answer_schema

    return answer_schema.SchemaVocabulary(tokenizer, options.json_schema, end_ids=end_ids)


def _decode_batch(  # noqa: PLR0913
    network: Any,
    answers: list[_Answer],
    *,
    options: GenerationOptions,
    ends: frozenset[int],
    bfloat16: bool,
    pieces: list[str] | None = None,
) -> Iterator[tuple[list[_Answer], int]]:
    """Yield after each token (answers that it finished, tokens generated). `pieces`: gets the text that is released."""
    from finewright.inference import decoding, token_choice

    decoder: Decoder = decoding.Decoder(network, bfloat16=bfloat16)
    logits_BV = decoder.start([answer.prompt for answer in answers])
    while True:
        _forbid(logits_BV, answers)
        seen = [[*answer.prompt, *answer.ids] for answer in answers] if options.repetition_penalty != 1 else []
        draws = [answer.draw for answer in answers]
        tokens = token_choice.choose_tokens(logits_BV, options=options, seen=seen, draws=draws)
        for answer, token in zip(answers, tokens, strict=True):
            released = answer.take(token, ends)
            if pieces is not None:
                pieces.append(released)
        kept = [row for row, answer in enumerate(answers) if not answer.finish_reason]
        yield [answer for answer in answers if answer.finish_reason], len(tokens)
        if not kept:
            return
        if len(kept) < len(answers):
            decoder.keep(kept)
            answers = [answers[row] for row in kept]
        logits_BV = decoder.step([tokens[row] for row in kept])


def _forbid(logits_BV: "torch.Tensor", answers: Sequence[_Answer]) -> None:
    """Forbid the tokens after which an answer could not fit its schema."""
    for logits_V, answer in zip(logits_BV, answers, strict=True):
        if answer.matcher is not None:
            answer.matcher.forbid(logits_V)


def _out_of_memory(number: int, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> UserError:
    what = (
        f"out of memory for one answer: a prompt of {len(prompts[number]):,} tokens and at most {limits[number]:,} of the answer"
    )
    fix = "fewer --max-new-tokens, a shorter prompt or a smaller model"
    return UserError(what, where=f"prompt {number + 1}", fix=fix, code=ExitCode.OUT_OF_MEMORY)
