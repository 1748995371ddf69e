"""CoNLL files: a word and its tags in each line, and a blank line after each sentence."""

import re
from collections.abc import Iterator

from finewright.data.readers.base import FileFormat, FileTable, InputFile, ReadOptions, Record, bad_file, combine_faults
from finewright.data.readers.text import Decoding, parse_lines

SUFFIXES = (".conll", ".bio", ".iob", ".iob2", ".bioes", ".conllu")
TOKENS, TAGS = "tokens", "tags"
_UNIVERSAL = ".conllu"
"""Universal Dependencies: ten columns, the word in the second one and its part of speech in the fourth."""
_DOCUMENT = "-DOCSTART-"
_ENTITY_TAG = re.compile(r"O|[BIESLUM]-\S+")
_BARE_COMMENT = re.compile(r"#(?:\s|$)")
_SAMPLE = 200
_HEADER = (
    {"token", "word", "tokens", "words", "form"},
    {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "pos_tags"},
)
"""What the first and the last field of a first line with names of columns may be."""


def read(file: InputFile, options: ReadOptions) -> FileTable:
    """Return a row for each sentence, with its words and the last column as their tags; words alone have no tags."""
    decoding = Decoding(options.encoding)
    notes: list[str] = []
    records = parse_lines(file, lambda lines, file: _read_sentences(lines, file, notes), decoding)
    columns = (TOKENS, TAGS) if any(TAGS in record.values for record in records) else (TOKENS,)
    return FileTable(records, columns, FileFormat(".jsonl", encoding=decoding.encoding), decoding.notes + notes, columns)


def is_conll(lines: list[str]) -> bool:
    """Return whether the first lines of a file are those of a CoNLL file with tags of entities."""
    full = [line for line in lines[:_SAMPLE] if line.strip() and not _is_comment(line) and not line.startswith(_DOCUMENT)]
    full = full[1:] if full and _is_header(_fields(full[0])) else full
    parted = any(not line.strip() for line in lines[: _SAMPLE - 1])
    return parted and len(full) > 1 and all(_has_tag(line) for line in full)


def _is_header(fields: list[str]) -> bool:
    return len(fields) > 1 and fields[0].casefold() in _HEADER[0] and fields[-1].casefold() in _HEADER[1]


def _has_tag(line: str) -> bool:
    fields = _fields(line)
    return len(fields) > 1 and _ENTITY_TAG.fullmatch(fields[-1]) is not None


def _fields(line: str) -> list[str]:
    line = line.rstrip("\r\n")
    return [one.strip() for one in line.split("\t")] if "\t" in line.strip() else line.split()


def _is_comment(line: str) -> bool:
    """Return whether a line is a comment: `#` is a word, too, where a tag follows it."""
    return _BARE_COMMENT.match(line) is not None and "\t" not in line and not _has_tag(line)


def _read_sentences(lines: Iterator[str], file: InputFile, notes: list[str]) -> list[Record]:
    sentences = _Sentences(file.name, universal=file.suffix == _UNIVERSAL)
    for number, line in enumerate(lines, start=1):
        sentences.add(number, line)
    sentences.end()
    counts = sentences.counts
    if len(counts) > 1 and 1 in counts:
        sentences.faults.append(f"{file.name}:{counts[1]}: a word without a tag, where other lines have one")
    if sentences.faults:
        fix = "each line needs a word and its tag, with a tab or a space between; a blank line parts sentences"
        raise combine_faults(sentences.faults, fix)
    if not sentences.records:
        raise bad_file("no sentences", file.path, "write a word and its tag in each line")
    if len(counts) > 1:
        numbers = ", ".join(f"{count} (line {number:,})" for count, number in sorted(counts.items()))
        notes.append(f"{file.name}: lines have different numbers of columns: {numbers}; the last one is the tag")
    elif not sentences.universal and max(counts) > 2:
        notes.append(f"{file.name}: the first of {max(counts)} columns is the word, the last one its tag; others are not read")
    return sentences.records


class _Sentences:
    """Collects the sentences of a file line by line. `counts`: numbers of columns, each with the first line that has it."""

    def __init__(self, name: str, *, universal: bool) -> None:
        self.name, self.universal = name, universal
        self.records: list[Record] = []
        self.faults: list[str] = []
        self.counts: dict[int, int] = {}
        self._words: list[str] = []
        self._tags: list[str] = []
        self._begins = 0

    def add(self, number: int, line: str) -> None:
        """Add a line: a word, a comment, or the end of a sentence."""
        if not line.strip() or line.startswith(_DOCUMENT):
            self.end()
            return
        fields = _fields(line)
        if (line.startswith("#") or not fields[0].isdecimal()) if self.universal else _is_comment(line):
            return
        if not self.counts and _is_header(fields):
            return
        self.counts.setdefault(len(fields), number)
        if self.universal and len(fields) < 4:
            self.faults.append(f"{self.name}:{number}: wanted ten columns, found {len(fields)}")
            return
        word, tag = (fields[1], fields[3]) if self.universal else (fields[0], fields[-1] if len(fields) > 1 else None)
        if not word or tag == "":
            self.faults.append(f"{self.name}:{number}: {f'the word {word!r:.40} has no tag' if word else 'no word'}")
            return
        self._begins = self._begins if self._words else number
        self._words.append(word)
        self._tags += [] if tag is None else [tag]

    def end(self) -> None:
        """End a sentence."""
        if self._words:
            values = {TOKENS: self._words} | ({TAGS: self._tags} if self._tags else {})
            self.records.append(Record(f"{self.name}:{self._begins}", values))
        self._words, self._tags = [], []
