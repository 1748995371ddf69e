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
    parted = any(not line.strip() for line in lines[: _SAMPLE - 1])
    return parted and len(full) > 1 and all(_has_tag(line) for line in full)


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
    universal = file.suffix == _UNIVERSAL
    records: list[Record] = []
    faults: list[str] = []
    words: list[tuple[str, str | None]] = []
    counts: dict[int, int] = {}
    begins = 0

    def end_sentence() -> None:
        if words:
            values = {TOKENS: [word for word, _ in words]}
            if any(tag is not None for _, tag in words):
                values[TAGS] = [tag or "" for _, tag in words]
            records.append(Record(f"{file.name}:{begins}", values))
        words.clear()

    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(_DOCUMENT):
            end_sentence()
            continue
        fields = _fields(line)
        if _is_comment(line) or (universal and line.startswith("#")) or (universal and not fields[0].isdecimal()):
            continue
        counts.setdefault(len(fields), number)
        begins = begins if words else number
        if universal and len(fields) < 4:
            faults.append(f"{file.name}:{number}: wanted ten columns, found {len(fields)}")
            continue
        place = (1, 3) if universal else (0, -1 if len(fields) > 1 else None)
        word, tag = fields[place[0]], None if place[1] is None else fields[place[1]]
        if not word or tag == "":
            faults.append(f"{file.name}:{number}: {'no word' if not word else f'the word {word!r:.40} has no tag'}")
            continue
        words.append((word, tag))
    end_sentence()
    if len(counts) > 1 and 1 in counts:
        faults.append(f"{file.name}:{counts[1]}: a word without a tag, where other lines have one")
    if faults:
        raise combine_faults(
            faults, "each line needs a word and its tag, with a tab or a space between; a blank line parts sentences"
        )
    if not records:
        raise bad_file("no sentences", file.path, "write a word and its tag in each line")
    if len(counts) > 1:
        numbers = ", ".join(f"{count} (line {number:,})" for count, number in sorted(counts.items()))
        notes.append(f"{file.name}: lines have different numbers of columns: {numbers}; the last one is the tag")
    elif not universal and max(counts) > 2:
        notes.append(f"{file.name}: the first of {max(counts)} columns is the word, the last one its tag; others are not read")
    return records
