"""Conversations as token ids, each with a mark whether it is learnt, and prompts to generate from.

Tokens of answers are found by place, never by their value: the end of a turn is learnt even where padding has the same id.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.chat_rendering import RenderedSample, Renderer, TurnEnd
from finewright.data.chat_templates import choose_template, own_template
from finewright.data.conversations import Conversation, Message
from finewright.data.samples import Collector, EncodedConversations, Sample, last_run
from finewright.data.text_tokenizer import TextTokenizer

__all__ = [
    "EncodedConversations",
    "answer_end_ids",
    "encode_conversations",
    "encode_prompts",
    "encode_samples",
    "end_of_turn_ids",
    "find_turn_end",
    "show_trained_tokens",
]

NO_LIMIT = 1 << 40
"""Tokens of a text that is not cut."""
_ROWS_AT_ONCE = 512


def encode_conversations(
    tokenizer: Any, rows: Sequence[Conversation], *, limit: int, options: DataConfig
) -> EncodedConversations:
    """Return the tokens of conversations and which of them are learnt.

    Of a conversation those of the assistant are, with the end of each turn; of a plain text all. The chat template is chosen and
    set on the tokenizer if it has none. Every row is checked: the tokens of the prompt alone must begin the tokens of the whole.
    Where they do not, each answer becomes a sample with all before it as its prompt.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer.
    rows
        Rows of one split.
    limit
        Most tokens of a sample. Longer conversations are left out, or lose the start of the prompt, as `options.over_long` says;
        longer texts become several samples, each of which begins with the last token of the one before.
    options
        `chat_template`, `trained_tokens` and `over_long` count.

    Raises
    ------
    UserError
        If the chat template refuses a row, a token id is not one of the tokenizer's, or nothing of all rows is learnt.
    """
    notes = _prepare_template(tokenizer, rows, options)
    encoder = _Encoder(tokenizer, options)
    collected = Collector(limit, options)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        for sample in encoder.encode(rows[start : start + _ROWS_AT_ONCE], start):
            collected.add(sample)
    return collected.finish(rows, [*notes, *encoder.notes()])


def encode_samples(tokenizer: Any, rows: Sequence[Conversation], *, options: DataConfig) -> tuple[list[Sample], list[str]]:
    """Return the samples of conversations as `encode_conversations` makes them, each as long as it is, and notes about them."""
    notes = _prepare_template(tokenizer, rows, options)
    encoder = _Encoder(tokenizer, options)
    found = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        found += list(encoder.encode(rows[start : start + _ROWS_AT_ONCE], start))
    for sample in found:
        sample.trained[:1] = [False] * len(sample.trained[:1])
    return found, [*notes, *encoder.notes()]


def _prepare_template(tokenizer: Any, rows: Iterable[Conversation], options: DataConfig) -> list[str]:
    """Set the chat template if a row needs one; return a note about it."""
    if not any(row.messages for row in rows):
        return []
    _, note = choose_template(tokenizer, options.chat_template)
    return [note]


class _Encoder:
    """Makes samples of rows, some at a time: the tokenizer gets many texts at once."""

    def __init__(self, tokenizer: Any, options: DataConfig) -> None:
        self.tokenizer, self.options = tokenizer, options
        self.texts = TextTokenizer(tokenizer)
        self._renderer: Renderer | None = None
        self.num_joined = self.num_ended = self.num_started = 0
        self.known = len(tokenizer)

    @property
    def renderer(self) -> Renderer:
        """The chat template; made when the first row needs it."""
        self._renderer = self._renderer or Renderer(self.tokenizer)
        return self._renderer

    def notes(self) -> list[str]:
        """Return what was done to rows."""
        counts = {note: len(rows) for note, rows in self._renderer.counts.items()} if self._renderer else {}
        if self.num_joined:
            counts["prompt and answer were tokenized apart, as the tokens of the prompt are others before the answer"] = (
                self.num_joined
            )
        if self.num_ended:
            counts["the chat template has no token that ends an answer: the tokenizer's end of text was added"] = self.num_ended
        notes = [f"{note} ({count:,} {'row' if count == 1 else 'rows'})" for note, count in counts.items()]
        if self.num_started:
            shown = self.tokenizer.convert_ids_to_tokens(self.texts.start)
            notes.append(f"the chat template does not write {shown}, which the tokenizer puts before every text: it is put first")
        if self._renderer and "strftime_now" in self._renderer.template:
            notes.append("the chat template writes the date of today: tokens differ from day to day")
        return notes

    def encode(self, rows: Sequence[Conversation], first: int) -> Iterator[Sample]:
        """Yield the samples of some rows in their order; `first`: the index of the first one."""
        start = None if self.texts.start is None else self.tokenizer.convert_ids_to_tokens(self.texts.start)
        rendered: list[tuple[int, Conversation, list[RenderedSample]]] = []
        everything = self.options.trained_tokens == "all"
        for index, row in enumerate(rows, start=first):
            samples = self.renderer.samples(row, all_turns=everything) if row.messages else []
            rendered.append((index, row, samples))
            self.num_started += start is not None and any(not one.text.startswith(start) for one in samples)
        wanted = [text for _, _, samples in rendered for one in samples for text in _texts_of(one, self.renderer.turn_end.text)]
        plain = [row.text for _, row, _ in rendered if row.form == "text"]
        ids = self.texts.whole([*wanted, *plain])
        for index, row, samples in rendered:
            if row.form == "tokens":
                yield self._from_ids(index, row)
            elif row.form == "text":
                yield self._from_text(index, ids[row.text])
            else:
                yield from self._from_messages(index, row, samples, ids)

    def _from_ids(self, index: int, row: Conversation) -> Sample:
        if max(row.ids) >= self.known:
            what = f"the token id {max(row.ids):,} is none of the tokenizer's {self.known:,}"
            raise UserError(what, where=row.where, fix="tokenize the rows with the model's own tokenizer", code=ExitCode.BAD_DATA)
        marks = list(row.trained)
        if self.options.trained_tokens == "all":
            marks = [True] * len(marks)
        return Sample(index, list(row.ids), marks, "tokens", answer=last_run(marks))

    def _from_text(self, index: int, ids: list[int]) -> Sample:
        if self.texts.end is not None and (not ids or ids[-1] != self.texts.end):
            ids = [*ids, self.texts.end]
        return Sample(index, ids, [True] * len(ids), "text")

    def _from_messages(
        self, index: int, row: Conversation, samples: list[RenderedSample], ids: dict[str, list[int]]
    ) -> Iterator[Sample]:
        messages = row.messages
        learnt = self._learnt(messages)
        made = [self._from_rendered(index, one, ids) for one in samples]
        if any(one is None for one in made):  # the tokens at a boundary differ: one sample for each answer, joined there
            prepared = self.renderer.prepare(row)
            places = [place for place, one in enumerate(prepared) if one.role == "assistant"]
            samples = self.renderer.turns(row, prepared, places)
            more = self.texts.whole([text for one in samples for text in _texts_of(one, self.renderer.turn_end.text)])
            made = [self._from_rendered(index, one, more) for one in samples]
        number = 0
        for sample, rendered in zip(made, samples, strict=True):
            assert sample is not None  # a joined sample always fits
            count = len(rendered.answers)
            flags = learnt[number : number + count]
            number += count
            self._mark(sample, flags)
            if rendered.mask_source != "turns" or any(flags) or self.options.trained_tokens == "all":
                yield sample

    def _learnt(self, messages: Sequence[Message]) -> list[bool]:
        """Return whether each answer of a row is learnt."""
        answers = [one for one in messages if one.role == "assistant"]
        first = len(answers) - 1 if self.options.trained_tokens == "last-answer" else 0
        return [place >= first and one.is_trained is not False for place, one in enumerate(answers)]

    def _mark(self, sample: Sample, flags: Sequence[bool]) -> None:
        """Learn of a sample the answers that are flagged; with `trained_tokens` all, every token."""
        if self.options.trained_tokens == "all":
            sample.trained = [True] * len(sample.ids)
            return
        for (start, end), flag in zip(_pairs(sample.starts), flags, strict=True):
            if not flag:
                sample.trained[start:end] = [False] * (end - start)
        if any(sample.trained):
            sample.answer = last_run(sample.trained)
            end = len(sample.trained) - sample.trained[::-1].index(True)  # nothing after it is learnt
            sample.ids, sample.trained = sample.ids[:end], sample.trained[:end]

    def _from_rendered(self, index: int, rendered: RenderedSample, ids: dict[str, list[int]]) -> Sample | None:
        """Return the tokens of a rendered text; None if those of a prompt do not begin them and it may not be joined."""
        text, end_mark = rendered.text, self.renderer.turn_end
        whole = ids[text]
        bounds: list[int] = []
        for answer in rendered.answers:
            prompt = ids[text[: answer.start]]
            if whole[: len(prompt)] != prompt:
                break
            end = self._find_end(text, answer.start, answer.end, len(prompt), whole, ids)
            if end is None:
                break
            bounds += [len(prompt), end]
        if len(bounds) < 2 * len(rendered.answers):
            if not rendered.joined:
                return self._unmarked(index, rendered, whole) if self.options.trained_tokens == "all" else None
            prompt = ids[text[: rendered.answers[0].start]]
            whole = [*prompt, *self.texts.continuation(text[rendered.answers[0].start :])]
            bounds = [len(prompt), len(whole)]
            self.num_joined += 1
        if not bounds:
            return self._unmarked(index, rendered, whole)
        ends = end_mark.kind != "token" and self.texts.end is not None and whole[-1] != self.texts.end
        if ends and bounds[-1] == len(whole):
            whole = [*whole, self.texts.end]
            bounds[-1] += 1
            self.num_ended += 1
        trained = [False] * len(whole)
        for start, end in _pairs(bounds):
            trained[start:end] = [True] * (end - start)
        head = _common_length(ids[rendered.head], whole) if rendered.head else 0
        return Sample(index, whole, trained, rendered.mask_source, head=head, answer=bounds[-2], starts=bounds)

    def _unmarked(self, index: int, rendered: RenderedSample, whole: list[int]) -> Sample:
        """Return a text of which every token is learnt, wherever its answers are; its prompt cannot be cut."""
        return Sample(index, whole, [True] * len(whole), rendered.mask_source, answer=len(whole))

    def _find_end(self, text: str, start: int, end: int, first: int, whole: list[int], ids: dict[str, list[int]]) -> int | None:
        """Return the number of tokens up to the end of an answer; None if no token ends there. `first`: its first token."""
        if end == len(text):
            return len(whole)
        mark = self.renderer.turn_end
        if mark.kind == "token" and text[start:end].endswith(mark.text):
            left = text[start:end].count(mark.text)
            for place in range(first, len(whole)):
                left -= whole[place] == mark.id
                if left == 0:
                    return place + 1
            return None
        before = ids[text[:end]]
        return len(before) if whole[: len(before)] == before else None


def _texts_of(sample: RenderedSample, end_mark: str) -> Iterator[str]:
    """Yield every text of which the tokens are needed to find the answers of a sample."""
    yield sample.text
    if sample.head:
        yield sample.head
    for answer in sample.answers:
        yield sample.text[: answer.start]
        if answer.end < len(sample.text) and not (end_mark and sample.text[: answer.end].endswith(end_mark)):
            yield sample.text[: answer.end]


def _pairs(bounds: Sequence[int]) -> Iterator[tuple[int, int]]:
    yield from zip(bounds[::2], bounds[1::2], strict=True)


def _common_length(some: Sequence[int], others: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(some), len(others)))


def encode_prompts(tokenizer: Any, rows: Sequence[Conversation], *, limit: int, after_all: bool = False) -> list[list[int]]:
    """Return the tokens from which an answer to each row is generated: all before the last answer, and what begins one.

    `after_all`: the answer to generate comes after all messages, as a further one.

    They are the same, token by token, as those before the last answer of a sample to learn from. A plain text is given whole,
    without the token that ends it. Those over `limit` lose the oldest tokens after the system prompt.

    Raises
    ------
    UserError
        If the tokenizer has no chat template, or it refuses a row.
    """
    texts = TextTokenizer(tokenizer)
    renderer: Renderer | None = None
    prompts: list[tuple[str, str]] = []
    for row in rows:
        if row.form == "tokens":
            prompts.append(("", ""))
        elif row.form == "text":
            prompts.append((row.text, ""))
        else:
            renderer = renderer or Renderer(tokenizer)
            prompts.append(renderer.prompt(row, after_all=after_all))
    ids = texts.whole([text for pair in prompts for text in pair if text])
    found = []
    for row, (prompt, head) in zip(rows, prompts, strict=True):
        own = list(row.ids[: last_run(row.trained)] or row.ids) if row.form == "tokens" else ids[prompt]
        kept = min(_common_length(ids[head], own) if head else 0, limit - 1)
        found.append(own if len(own) <= limit else [*own[:kept], *own[len(own) - (limit - kept) :]])
    return found


def show_trained_tokens(tokenizer: Any, ids: Sequence[int], trained: Sequence[bool]) -> list[tuple[str, bool]]:
    """Return the text of a sample in pieces, each with whether it is learnt, special tokens included."""
    decode: Callable[[Sequence[int]], str] = lambda some: tokenizer.decode(  # noqa: E731
        list(some), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    pieces, shown, start = [], "", 0
    for place in range(1, len(ids) + 1):
        if place < len(ids) and bool(trained[place]) == bool(trained[start]):
            continue
        text = decode(ids[:place])
        pieces.append((text[len(shown) :], bool(trained[start])))
        shown, start = text, place
    return pieces


def find_turn_end(tokenizer: Any) -> TurnEnd:
    """Return what the tokenizer's chat template writes after an answer; nothing without a template."""
    return TurnEnd("none") if own_template(tokenizer) is None else Renderer(tokenizer).turn_end


def end_of_turn_ids(tokenizer: Any, turn_end: TurnEnd | None = None) -> list[int]:
    """Return the tokens at which generation ends: the tokenizer's end of text and the chat template's end of a turn.

    `turn_end`: of `find_turn_end`, where it is known.
    """
    end = turn_end or find_turn_end(tokenizer)
    found = [tokenizer.eos_token_id, end.id if end.kind == "token" else None]
    return list(dict.fromkeys(one for one in found if one is not None))


def answer_end_ids(tokenizer: Any) -> list[int]:
    """Return the tokens that follow an answer in training: the end of a turn of the chat template, or else of the text."""
    end = find_turn_end(tokenizer)
    if end.kind == "token" and end.id is not None:
        return [end.id]
    written = TextTokenizer(tokenizer).continuation(end.tail) if end.tail else []
    return [*written, *([] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)])]
