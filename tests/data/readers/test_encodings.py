"""Text that is not UTF-8: read when its bytes tell what it is, refused when they do not."""

import codecs

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import read_rows
from finewright.data.readers import encodings

FRENCH = "text,label\n" + "".join(f"Où est « ma » commande n° {n} ? L’été, déjà…,{'ab'[n % 2]}\n" for n in range(9))
RUSSIAN = "text,label\n" + "".join(f"где моя посылка {n},{'ab'[n % 2]}\n" for n in range(9))
TURKISH = "text,label\nşirket ığdır çok güzel,a\n"
CZECH = "text,label\npříliš žluťoučký kůň,a\n"
POLISH = "text,label\n" + "".join(f"Gdzie są moje książki i żółte koła {n},{'ab'[n % 2]}\n" for n in range(9))


def texts_of(tmp_path, raw, *, name="a.csv", **options):
    (tmp_path / name).write_bytes(raw)
    rows, notes = read_rows(tmp_path / name, options=DataConfig(**options))
    return [row.text for row in rows], " | ".join(notes)


def refused(tmp_path, raw, **options):
    with pytest.raises(UserError) as caught:
        texts_of(tmp_path, raw, **options)
    return str(caught.value)


def test_windows_1252_is_read_and_that_is_said(tmp_path):
    content = FRENCH.replace("text,label", "text;label").replace("…,", "…;")
    texts, notes = texts_of(tmp_path, content.encode("cp1252"))
    assert texts[3] == "Où est « ma » commande n° 3 ? L’été, déjà…"
    assert "a.csv: read as Windows-1252: byte 0xF9 in line 2 is not UTF-8; --encoding names another" in notes
    assert texts_of(tmp_path, content.encode("cp1252"), encoding="windows-1252") == (texts, "a.csv: columns are separated by ';'")


def test_one_accent_late_in_a_json_file(tmp_path):
    lines = ['{"text": "plain", "label": "a"}'] * 40 + ['{"text": "café", "label": "b"}']
    assert texts_of(tmp_path, "\n".join(lines).encode("cp1252"), name="a.jsonl")[0][-1] == "café"


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("mark", [True, False])
def test_utf_16_in_both_orders_with_and_without_mark(tmp_path, order, mark):
    start = (codecs.BOM_UTF16_LE if order == "le" else codecs.BOM_UTF16_BE) if mark else b""
    texts, notes = texts_of(tmp_path, start + "text,label\nдля вас,a\nécole,b\n".encode(f"utf-16-{order}"))
    assert texts == ["для вас", "école"]
    assert (f"read as UTF-16-{order.upper()}: it has no byte order mark" in notes) is not mark


def test_utf_32_with_its_mark(tmp_path):
    assert texts_of(tmp_path, "text,label\nécole,b\n".encode("utf-32"))[0] == ["école"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (RUSSIAN, "windows-1251"),
        (POLISH, "windows-1250"),
        (TURKISH, "windows-1254"),
        (CZECH, "windows-1250"),
        ("text,label\n私の荷物はどこですか,a\n", "shift_jis"),
    ],
)
def test_other_encodings_are_asked_for_instead_of_guessed(tmp_path, content, encoding):
    raw = content.encode(encoding)
    assert "--encoding" in refused(tmp_path, raw)
    assert texts_of(tmp_path, raw, encoding=encoding)[0][0] == content.splitlines()[1].split(",")[0]


@pytest.mark.parametrize(
    "raw",
    [
        "text,label\nécole,a\n".encode() + b"caf\xe9,b\n",  # one bad byte in a UTF-8 file
        b"text,label\ncaf\xe9,b\n" + "école,a\n".encode(),
        b"text,label\ncaf\xc3,b\n",  # cut off inside a character
        b"text,label\nx\xed\xa0\x80y,b\n",  # a surrogate
        b"text,label\ncaf\xe9\x02,b\n",
    ],
)
def test_a_damaged_utf_8_file_is_not_taken_for_windows_1252(tmp_path, raw):
    assert "Windows-1252 is not sure either" in refused(tmp_path, raw)


def test_a_wrong_or_unknown_encoding_is_named(tmp_path):
    assert "byte 0xE9 at column 4 is not utf-8" in refused(tmp_path, b"text,label\ncaf\xe9,b\n", encoding="utf-8")
    with pytest.raises(UserError, match="--encoding: unknown encoding 'klingon'") as caught:
        texts_of(tmp_path, b"x", encoding="klingon")
    assert caught.value.code == ExitCode.USAGE


def test_german_of_all_kinds_of_letters_is_windows_1252():
    lines = ["Größe, Übergröße, ÄÖÜ, „Anführung“ – naïve Façade, 5 µm, m³, 20 °C; l·l; soufflé à la crème brûlée"] * 10
    assert encodings.why_not_windows(line.encode("cp1252") for line in [*lines, *["schöne Grüße an Frau Müller"] * 200]) == ""


@pytest.mark.parametrize(
    "text",
    [
        "ÞAÐ er gott að búa á Íslandi",
        "Smørrebrød på bordet, æble",
        "NÃO É ISSO",
        "ÉCOLE FRANÇAISE À L’ÉTÉ",
        "It’s fine – “naïve”",
        "¿Qué año?",
    ],
)
def test_languages_of_windows_1252(tmp_path, text):
    assert texts_of(tmp_path, f'text,label\n"{text}",a\n'.encode("cp1252"))[0] == [text]
