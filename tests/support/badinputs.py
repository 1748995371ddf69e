"""Hundreds of malformed inputs: what is wrong, the file, and the line that the message must name (0: none in particular)."""

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

ROWS = [(f"where is parcel number {index}", ("shipping", "billing")[index % 2]) for index in range(12)]
PLACES = (0, 6, 11)
"""Rows that a fault is put into: the first, one in the middle, the last."""
_SURROGATE, _CUT = b"\xed\xa0\x80", b"caf\xc3"


@dataclass(frozen=True)
class Bad:
    """`what` is wrong in the file `name`; `line` is where."""

    what: str
    name: str
    content: bytes
    line: int = 0


def table(rows: list[bytes], *, header: bytes = b"text,label") -> bytes:
    """Lines of a CSV or TSV file."""
    return b"\n".join([header, *rows]) + b"\n"


def _fields(sep: bytes) -> list[bytes]:
    return [text.encode() + sep + label.encode() for text, label in ROWS]


def _in_tables() -> Iterator[Bad]:
    for suffix, sep in (("csv", b","), ("tsv", b"\t")):
        faults = {
            "one field more": b"x" + sep + b"shipping" + sep + b"y",
            "one field less": b"x",
            "an empty text": sep + b"shipping",
            "a blank text": b"  " + sep + b"shipping",
            "no label": b"x" + sep,
            "a NUL in the text": b"x\0y" + sep + b"shipping",
            "a NUL in the label": b"x" + sep + b"ship\0ping",
            "a byte that is no character": b"caf\x81" + sep + b"shipping",
            "a character cut off": _CUT + sep + b"shipping",
            "a surrogate": _SURROGATE + sep + b"shipping",
            "a quote that never closes": b'"x' + sep + b"shipping",
            "text after a closing quote": b'"x"y' + sep + b"shipping",
        }
        for what, line in faults.items():
            for place in PLACES:
                rows = _fields(sep)
                if sep == b"\t" and "quote" in what:  # without other quotes a TSV file has none, whatever its fields begin with
                    rows = [b'"' + row.replace(sep, b'"' + sep + b'"') + b'"' for row in rows]
                rows[place] = line
                header = b"text" + sep + b"label"
                yield Bad(f"{what}, row {place}", f"a.{suffix}", table(rows, header=header), line=place + 2)


_OBJECTS = {
    "broken off": b'{"text": "x", "lab',
    "a key alone": b'{"text": }',
    "single quotes": b"{'text': 'x', 'label': 'a'}",
    "an array": b'["x", "shipping"]',
    "a string": b'"x"',
    "a number": b"7",
    "null": b"null",
    "NaN": b'{"text": "x", "label": NaN}',
    "Infinity": b'{"text": "x", "label": -Infinity}',
    "a key twice": b'{"text": "x", "text": "y", "label": "shipping"}',
    "too deep": b'{"text": "x", "label": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "too many digits": b'{"text": "x", "label": ' + b"9" * 5000 + b"}",
    "text null": b'{"text": null, "label": "shipping"}',
    "text a list": b'{"text": ["x"], "label": "shipping"}',
    "text empty": b'{"text": "", "label": "shipping"}',
    "text blank": b'{"text": " \\n\\t", "label": "shipping"}',
    "text absent": b'{"label": "shipping"}',
    "label null": b'{"text": "x", "label": null}',
    "label a list": b'{"text": "x", "label": ["shipping"]}',
    "label an object": b'{"text": "x", "label": {"a": 1}}',
    "label empty": b'{"text": "x", "label": ""}',
    "label absent": b'{"text": "x"}',
    "half a surrogate pair": b'{"text": "\\ud800", "label": "shipping"}',
    "a NUL": b'{"text": "x\\u0000", "label": "shipping"}',
    "a byte that is no character": b'{"text": "caf\x81", "label": "shipping"}',
    "a character cut off": b'{"text": "' + _CUT + b'", "label": "shipping"}',
}


def _in_json() -> Iterator[Bad]:
    objects = [json.dumps({"text": text, "label": label}).encode() for text, label in ROWS]
    for what, line in _OBJECTS.items():
        for place in PLACES:
            rows = list(objects)
            rows[place] = line
            yield Bad(f"{what}, row {place}", "a.jsonl", b"\n".join(rows) + b"\n", line=place + 1)
            named = 0 if what == "broken off" else place + 2  # there a string runs on into the next line
            yield Bad(f"{what}, row {place}", "a.json", b"[\n" + b",\n".join(rows) + b"\n]\n", line=named)


def _whole_files() -> Iterator[Bad]:
    good = table(_fields(b","))
    magic = {
        "a zip archive": b"PK\x03\x04zzzz",
        "a picture": b"\x89PNG\r\n\x1a\n",
        "a PDF": b"%PDF-1.7\n",
        "Parquet": b"PAR1zzzz",
        "gzip": gzip.compress(good, mtime=0),
        "an old Office file": b"\xd0\xcf\x11\xe0zzzz",
    }
    for suffix in ("csv", "tsv", "jsonl", "json"):
        for what, content in magic.items():
            yield Bad(f"{what} by the name of {suffix}", f"a.{suffix}", content)
        yield Bad("nothing in it", f"a.{suffix}", b"")
        yield Bad("a byte order mark alone", f"a.{suffix}", b"\xef\xbb\xbf")
        yield Bad("line ends alone", f"a.{suffix}", b"\n\n\n")
        yield Bad("gzip cut off", f"a.{suffix}.gz", gzip.compress(good * 50, mtime=0)[:-20])
        yield Bad("UTF-16 cut in a character", f"a.{suffix}", good.decode().encode("utf-16")[:-1])
        yield Bad("UTF-16 cut, without its mark", f"a.{suffix}", good.decode().encode("utf-16-le")[:-1])
        yield Bad("NUL characters in both places", f"a.{suffix}", b"t\0\0e\0\0x\0\0" * 20)
        yield Bad("random bytes", f"a.{suffix}", random.Random(0).randbytes(2000))
    yield Bad("a header alone", "a.csv", b"text,label\n")
    yield Bad("a column twice", "a.csv", table(_fields(b","), header=b"text,text"), line=1)
    yield Bad(
        "no label column", "a.csv", table([b"%s,%d" % (text.encode(), n) for n, (text, _) in enumerate(ROWS)], header=b"text,no")
    )
    yield Bad(
        "no text column",
        "a.csv",
        table([b"%d,%s" % (n, label.encode()) for n, (_, label) in enumerate(ROWS)], header=b"no,label"),
    )
    yield Bad("no header", "a.csv", table(_fields(b",")[1:], header=_fields(b",")[0]))
    yield Bad("a thousand unknown columns", "a.csv", b",".join(b"c%d" % i for i in range(1000)) + b"\n" + b"x," * 999 + b"x\n")
    yield Bad("one label", "a.csv", table([b"x %d,a" % i for i in range(12)]))
    yield Bad("one row", "a.csv", table([b"x,a"]))
    yield Bad("a workbook that is none", "a.xlsx", good)
    yield Bad("texts alone", "a.txt", b"one\ntwo\n")
    yield Bad("an object around the rows", "a.json", b'{"rows": []}')
    yield Bad("an empty array", "a.json", b"[]")
    yield Bad("Parquet that is none", "a.parquet", good)
    yield Bad("Parquet cut off", "a.parquet", b"PAR1" + bytes(50) + b"PAR1")


def all_of_them() -> list[Bad]:
    """Every malformed file."""
    return [*_in_tables(), *_in_json(), *_whole_files()]


def strange_places(root: Path) -> list[Path]:
    """Names under which there is no file to read."""
    (root / "folder.csv").mkdir()
    (root / "nowhere.csv").symlink_to(root / "gone.csv")
    (root / "circle.csv").symlink_to(root / "circle.csv")
    (root / "zeros.csv").symlink_to("/dev/zero")
    return [*(root / f"{name}.csv" for name in ("folder", "nowhere", "circle", "zeros", "absent")), root / ("x" * 300)]


def mutations(number: int, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """Good files of four kinds with some bytes flipped, put in, taken out, doubled or cut off."""
    dice = random.Random(seed)
    objects = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    good = {
        "a.csv": table(_fields(b",")),
        "a.tsv": table(_fields(b"\t"), header=b"text\tlabel"),
        "a.jsonl": "\n".join(objects).encode(),
        "a.json": f"[{', '.join(objects)}]".encode(),
    }
    yield from _mutate(good, number, dice)


def packed_mutations(number: int, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """The same of packed and binary files."""
    whole = table(_fields(b","))
    rows = pyarrow.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    parquet, arrow, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(rows, parquet)
    with pyarrow.ipc.new_stream(arrow, rows.schema) as writer:
        writer.write_table(rows)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x.csv", whole)
    good = {
        "a.parquet": parquet.getvalue(),
        "a.arrow": arrow.getvalue(),
        "a.zip": archive.getvalue(),
        "a.csv.gz": gzip.compress(whole, mtime=0),
        "a.csv.bz2": bz2.compress(whole),
        "a.csv.xz": lzma.compress(whole),
    }
    yield from _mutate(good, number, random.Random(seed))


def _mutate(good: dict[str, bytes], number: int, dice: random.Random) -> Iterator[tuple[str, bytes]]:
    telling = b'",\n\r\t\\{}[]:\0\xff\xc3\xed\x1a;'
    for _ in range(number):
        name = dice.choice(list(good))
        content = bytearray(good[name])
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(len(content) + 1)
            kind = dice.choice(("flip", "put in", "take out", "double", "cut off", "byte"))
            if kind == "flip" and at < len(content):
                content[at] ^= 1 << dice.randrange(8)
            elif kind == "put in":
                content[at:at] = bytes([dice.choice(telling)])
            elif kind == "take out":
                del content[at : at + dice.choice((1, 1, 20))]
            elif kind == "double":
                content[at:at] = content[at : at + 40]
            elif kind == "cut off":
                del content[at:]
            elif at < len(content):
                content[at] = dice.randrange(256)
        yield name, bytes(content)
