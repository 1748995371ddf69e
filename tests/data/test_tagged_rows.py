"""Tagged texts: every format, every scheme, and what is wrong with rows."""

import json

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import dataset, tag_schemes
from finewright.data.readers import ReadOptions, read_file
from finewright.data.tables import to_table
from finewright.data.tag_schemes import Entity, convert_to_iob2, find_entities
from finewright.data.tagged_rows import find_form, read_tagged_rows
from finewright.data.tagged_tokens import Span, fit_spans, locate_tokens, split_words

ANNA = ("Anna Berg paid 12 euros in Rome", [(0, 9, "PER"), (15, 23, "MONEY"), (27, 31, "LOC")])
ANNA_TAGS = ["B-PER", "I-PER", "O", "B-MONEY", "I-MONEY", "O", "B-LOC"]


def read(path, text, **options):
    path.write_text(text, encoding="utf-8")
    given = DataConfig(**options)
    table = read_file(path, ReadOptions(), texts=())
    return read_tagged_rows(table, options=given, file=path.name)


def as_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


STUDIO = {
    "id": 1,
    "data": {"text": ANNA[0]},
    "annotations": [
        {"was_cancelled": True, "result": []},
        {
            "result": [
                {"type": "labels", "value": {"start": start, "end": end, "text": ANNA[0][start:end], "labels": [label]}}
                for start, end, label in ANNA[1]
            ]
        },
    ],
}
FORMS = {
    "conll": ("a.conll", "".join(f"{word}\t{tag}\n" for word, tag in zip(ANNA[0].split(), ANNA_TAGS, strict=True))),
    "four columns": (
        "a.txt",
        "-DOCSTART- -X- -X- O\n\n"
        + "".join(f"{word} NN I-NP {tag}\n" for word, tag in zip(ANNA[0].split(), ANNA_TAGS, strict=True))
        + "\n# a comment\nHello UH O O\n",
    ),
    "tsv": ("a.tsv", "".join(f"{w}\t{t}\n" for w, t in zip(ANNA[0].split(), ANNA_TAGS, strict=True)) + "\nBye\tO\n"),
    "tokens": ("a.jsonl", as_lines({"tokens": ANNA[0].split(), "ner_tags": ANNA_TAGS, "pos_tags": ["X"] * 7})),
    "spans": ("a.jsonl", as_lines({"text": ANNA[0], "entities": ANNA[1]})),
    "doccano": ("a.jsonl", as_lines({"id": 7, "text": ANNA[0], "label": ANNA[1], "Comments": []})),
    "doccano offsets": (
        "a.jsonl",
        as_lines(
            {
                "text": ANNA[0],
                "entities": [{"id": 1, "label": label, "start_offset": a, "end_offset": b} for a, b, label in ANNA[1]],
                "relations": [],
            }
        ),
    ),
    "dicts": ("a.jsonl", as_lines({"text": ANNA[0], "spans": [{"start": a, "end": b, "label": c} for a, b, c in ANNA[1]]})),
    "label studio": ("a.json", json.dumps([STUDIO])),
    "label studio, short": (
        "a.json",
        json.dumps(
            [{"text": ANNA[0], "id": 1, "label": [{"start": a, "end": b, "text": "", "labels": [c]} for a, b, c in ANNA[1]]}]
        ),
    ),
    "csv of pandas": (
        "a.csv",
        'tokens,ner_tags\n"' + str(ANNA[0].split()) + '","' + str(ANNA_TAGS) + '"\n',
    ),
    "csv of pandas with spans": ("a.csv", 'text,entities\n"' + ANNA[0] + '","' + str(ANNA[1]) + '"\n'),
    "csv with json": ("a.csv", 'text,entities\n"' + ANNA[0] + '","' + json.dumps(ANNA[1]).replace('"', '""') + '"\n'),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_row(form, tmp_path):
    name, text = FORMS[form]
    row = read(tmp_path / name, text).rows[0]
    assert row.text == ANNA[0]
    assert list(row.tags) == ANNA_TAGS
    assert row.spans() == [Span(*one) for one in ANNA[1]]
    assert row.where.startswith(name)
    assert row.label == "PER: Anna Berg; MONEY: 12 euros; LOC: Rome"


@pytest.mark.parametrize("cell", ["[" * 100_000, "[Anna, left]", "[__import__('os')]"])
def test_cells_that_are_no_lists_are_none(cell, tmp_path):
    (tmp_path / "a.csv").write_text(f'tokens,ner_tags\n"{cell}","{cell}"\n')
    assert find_form(read_file(tmp_path / "a.csv", ReadOptions(), texts=()), DataConfig()) is None


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_recognised(form, tmp_path):
    name, text = FORMS[form]
    (tmp_path / name).write_text(text)
    kind, reason = dataset.detect_row_kind(tmp_path / name, options=DataConfig())
    assert kind == "tagged-tokens"
    assert reason.startswith("it ")


def test_universal_dependencies_have_the_part_of_speech_in_the_fourth_column(tmp_path):
    lines = ["# sent_id = 1", "1-2\tzum\t_\t_", "1\tzu\tzu\tADP", "2\tdem\tder\tDET", "3\tMarkt\tMarkt\tNOUN"]
    row = read(tmp_path / "a.conllu", "\n".join(f"{line}" + "\t_" * 6 * ("\t" in line) for line in lines) + "\n").rows[0]
    assert (row.tokens, row.tags) == (("zu", "dem", "Markt"), ("ADP", "DET", "NOUN"))


def test_a_hash_is_a_word_where_a_tag_follows_it(tmp_path):
    row = read(tmp_path / "a.conll", "# comment of a person\n# O\n#sale O\nParis B-LOC\n").rows[0]
    assert row.tokens == ("#", "#sale", "Paris")


def test_a_line_with_the_names_of_the_columns_is_no_word(tmp_path):
    (tmp_path / "a.tsv").write_text("word\ttag\nAnna\tB-PER\n\nOslo\tB-LOC\n")
    assert dataset.detect_row_kind(tmp_path / "a.tsv", options=DataConfig())[0] == "tagged-tokens"
    rows = read(tmp_path / "a.tsv", (tmp_path / "a.tsv").read_text()).rows
    assert [row.text for row in rows] == ["Anna", "Oslo"]


def test_tables_of_other_tasks_are_none(tmp_path):
    for text in (
        '{"text": "a b", "label": "x"}\n',
        '{"text": "a b", "labels": ["x", "y"]}\n',
        '{"prompt": "a", "completion": "b"}\n',
    ):
        (tmp_path / "a.jsonl").write_text(text * 3)
        table = read_file(tmp_path / "a.jsonl", ReadOptions())
        assert find_form(table, DataConfig()) is None
    (tmp_path / "a.tsv").write_text("text\tlabel\nwhere is it\tO\n\nand this\tO\n")
    assert dataset.detect_row_kind(tmp_path / "a.tsv", options=DataConfig())[0] == "labelled"


SCHEMES = {
    "IOB2": ["B-A", "I-A", "O", "B-B", "B-B"],
    "IOB1": ["I-A", "I-A", "O", "I-B", "B-B"],
    "BIOES": ["B-A", "E-A", "O", "S-B", "S-B"],
    "BILOU": ["B-A", "L-A", "O", "U-B", "U-B"],
    "BMES": ["B-A", "E-A", "O", "S-B", "S-B"],
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_become_iob2(scheme):
    more = {"BMES": ["B-A", "M-A", "E-A"], "IOB1": ["I-A", "O", "I-A"]}.get(scheme, ["O"])
    found = convert_to_iob2([SCHEMES[scheme], more])
    assert (found.scheme, found.num_repaired) == (scheme, 0)
    assert found.sentences[0] == SCHEMES["IOB2"]


def test_names_without_a_prefix_are_runs_and_parts_of_speech_stay():
    assert convert_to_iob2([["PER", "PER", "O", "LOC"]]).sentences == [["B-PER", "I-PER", "O", "B-LOC"]]
    assert convert_to_iob2([["NOUN", "VERB"]]).sentences == [["NOUN", "VERB"]]
    assert tag_schemes.has_entities(["B-X", "O"])
    assert not tag_schemes.has_entities(["NOUN", "O"])


def test_tags_against_the_rules_are_repaired_counted_and_named(tmp_path):
    rows = [{"tokens": ["a", "b", "c"], "tags": ["B-A", "I-B", "O"]}, {"tokens": ["d", "e"], "tags": ["B-A", "I-A"]}]
    found = read(tmp_path / "a.jsonl", as_lines(*rows))
    assert found.rows[0].tags == ("B-A", "B-B", "O")
    (note,) = (note for note in found.notes if "repaired" in note)
    assert "1 tag against the rules of IOB2 repaired, in a.jsonl:1" in note


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "Anna Berg", "entities": [[0, 4, "A"], [2, 9, "B"]]}, r"two pieces overlap: 'Anna' \(A, 0-4\) and 'na Berg'"),
        ({"text": "Anna", "entities": [[0, 9, "A"]]}, "from 0 to 9 .* is not in the text of 4 characters"),
        ({"text": "Anna  B", "entities": [[4, 6, "A"]]}, "white space alone"),
        ({"text": "Anna", "entities": [{"start": 0, "end": 4, "labels": ["A", "B"]}]}, "several labels: A, B"),
        ({"text": " ", "entities": [[0, 1, "A"]]}, "the text is empty"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words, but 1 tags"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "word 2 of 2 is empty"),
        ({"tokens": ["a", "b"], "tags": ["O", ""]}, "the word 'b' has no tag"),
    ],
)
def test_faults_name_the_row(row, message, tmp_path):
    good = {"text": "Anna", "entities": [[0, 4, "A"]]} if "text" in row else {"tokens": ["a"], "tags": ["B-A"]}
    with pytest.raises(UserError, match=f"a.jsonl:2: .*{message}"):
        read(tmp_path / "a.jsonl", as_lines(good, row))
    found = read(tmp_path / "a.jsonl", as_lines(good, row), skip_invalid_rows=True)
    assert len(found.rows) == 1
    assert any("1 row dropped" in note for note in found.notes)


def test_a_line_without_a_tag_is_named(tmp_path):
    with pytest.raises(UserError, match="a.conll:2: a word without a tag"):
        read(tmp_path / "a.conll", "Anna B-PER\nBerg\n")


def test_a_piece_inside_a_word_takes_all_of_it_and_is_named(tmp_path):
    found = read(tmp_path / "a.jsonl", as_lines({"text": "the jacketzip", "entities": [[4, 10, "PART"]]}))
    assert found.rows[0].spans() == [Span(4, 13, "PART")]
    assert any("1 piece begins or ends inside a word, and the whole word was taken: a.jsonl:1 'jacket'" in n for n in found.notes)


def test_words_of_many_scripts():
    text = "Anna's नमस्ते A-12 東京 50€"
    assert [text[a:b] for a, b in split_words(text)] == ["Anna", "'", "s", "नमस्ते", "A", "-", "12", "東", "京", "50", "€"]
    assert locate_tokens("a  b a", ["a", "b", "a"]) == [(0, 1), (3, 4), (5, 6)]
    assert locate_tokens("a b", ["b", "a"]) is None


def test_two_pieces_of_one_type_that_touch_stay_two():
    words = split_words("Rome Paris")
    assert fit_spans(words, [Span(0, 4, "LOC"), Span(5, 10, "LOC")]).tags == ["B-LOC", "B-LOC"]


def test_entities_are_those_of_seqeval():
    """The examples of seqeval's documentation and its conventions for tags against the rules."""
    assert find_entities(["B-PER", "I-PER", "O", "B-LOC"]) == [Entity(0, 1, "PER"), Entity(3, 3, "LOC")]
    assert find_entities(["O", "I-A", "I-B", "I-B"]) == [Entity(1, 1, "A"), Entity(2, 3, "B")]
    assert find_entities(["O", "I-A", "I-B", "B-B"], strict=True) == [Entity(3, 3, "B")]
    assert find_entities(["B", "I", "O"]) == [Entity(0, 1, "_")]
    assert find_entities(["B-A", "E-A", "I-A"]) == [Entity(0, 1, "A"), Entity(2, 2, "A")]


def test_numbers_of_a_hub_data_set_get_their_names():
    from finewright.data.readers.hub import iterate_named

    datasets = pytest.importorskip("datasets")
    names = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER"]))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": names})
    made = datasets.Dataset.from_dict({"tokens": [["Anna", "left"]], "ner_tags": [[1, 0]]}, features=features)
    assert [*iterate_named(made)] == [{"tokens": ["Anna", "left"], "ner_tags": ["B-PER", "O"]}]


def test_numbers_without_names_are_tags_and_a_finding(tmp_path):
    from finewright.tasks import tag_checks

    (tmp_path / "train.jsonl").write_text(as_lines(*[{"tokens": ["a", "b"], "ner_tags": [0, 1]}] * 2))
    data = dataset.read_dataset(tmp_path, options=DataConfig(test_fraction=0.0), row_kind="tagged-tokens")
    assert data.labels == ("0", "1")
    assert [one.code for one in tag_checks.check_tags(data)] == ["numeric_labels"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_the_label_of_a_text_goes_before_its_tags_in_every_format(tmp_path, name):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        [
            {"text": "Anna left early", "label": "ab"[row % 2], "tokens": ["Anna", "left"], "pos_tags": ["N", "V"]}
            for row in range(40)
        ]
    )
    frame.to_parquet(tmp_path / name) if name.endswith("t") else frame.to_json(tmp_path / name, orient="records", lines=True)
    assert dataset.detect_row_kind(tmp_path / name, options=DataConfig())[0] == "labelled"


def test_tags_beside_a_label_of_another_name_are_asked_about():
    rows = [{"text": "Anna left", "intent": "ab"[row % 2], "entities": [[0, 4, "PER"]]} for row in range(40)]
    with pytest.raises(UserError, match=r"each text has a label \('intent'\) and tags \('entities'\)") as caught:
        dataset.detect_row_kind(to_table(rows), options=DataConfig())
    assert caught.value.fix == "--label-column intent or --label-column entities"
    for given, kind in (("intent", "labelled"), ("entities", "tagged-tokens")):
        assert dataset.detect_row_kind(to_table(rows), options=DataConfig(label_column=given))[0] == kind
    said = [{**row, "label": row["intent"]} for row in rows]
    assert dataset.detect_row_kind(to_table(said), options=DataConfig())[1].endswith(
        "--task token-classification learns 'entities' instead"
    )
    words = [{"tokens": ["Anna", "left"], "ner_tags": ["B-PER", "O"], "topic": "ab"[row % 2]} for row in range(40)]
    assert dataset.detect_row_kind(to_table(words), options=DataConfig())[0] == "tagged-tokens", "there is no text to label"


def test_labels_of_the_whole_text_beside_its_words_are_no_tags():
    rows = [
        {"text": "Anna left early", "tokens": ["Anna", "left", "early"], "labels": ["a", "b"][: row % 3]} for row in range(40)
    ]
    assert dataset.detect_row_kind(to_table(rows), options=DataConfig())[0] == "multi-label"
    tagged = [{"tokens": ["Anna", "left"], "labels": ["PER", "O"][: 1 + (row != 3)]} for row in range(40)]
    assert dataset.detect_row_kind(to_table(tagged), options=DataConfig())[0] == "tagged-tokens"
    with pytest.raises(UserError, match="2 words, but 1 tags"):
        dataset.read_dataset(to_table(tagged), options=DataConfig(), row_kind="tagged-tokens")


KAGGLE = """Sentence #,Word,POS,Tag
Sentence: 1,Anna,NNP,B-per
,left,VBD,O
,Rome,NNP,B-geo
Sentence: 2,He,PRP,O
,.,.,O
"""


def test_one_word_a_row_where_an_empty_cell_means_the_same_sentence(tmp_path):
    """As in the data set on Kaggle from which many learn to find names."""
    (tmp_path / "ner.csv").write_text(KAGGLE)
    kind, reason = dataset.detect_row_kind(tmp_path / "ner.csv", options=DataConfig())
    assert (kind, reason) == ("tagged-tokens", "it has words with a tag each ('tokens', 'Tag')")
    rows, notes = dataset.read_rows(tmp_path / "ner.csv", options=DataConfig(), row_kind="tagged-tokens")
    assert [(row.text, row.tags, row.where) for row in rows] == [
        ("Anna left Rome", ("B-per", "O", "B-geo"), "ner.csv:2"),
        ("He .", ("O", "O"), "ner.csv:5"),
    ]
    assert "one word a row: 5 rows are 2 sentences by 'Sentence #'" in notes
    parts = dataset.read_rows(tmp_path / "ner.csv", options=DataConfig(label_column="POS"), row_kind="tagged-tokens")[0]
    assert parts[0].tags == ("NNP", "VBD", "NNP")
    table = dataset.read_table(tmp_path / "ner.csv")
    assert [record.values["tokens"] for record in table.records] == [["Anna", "left", "Rome"], ["He", "."]]


def test_sentences_are_counted_anew_in_each_document(tmp_path):
    """As in tables of spaCy's tokens: documents of one sentence all have the sentence 1."""
    lines = ["d1,1,Anna,B-PER", "d1,1,left,O", "d2,1,Rome,B-LOC", "d2,1,waits,O", "d2,2,Bye,O"]
    (tmp_path / "a.csv").write_text("doc_id,sentence_id,token,tag\n" + "\n".join(lines) + "\n")
    rows, _ = dataset.read_rows(tmp_path / "a.csv", options=DataConfig(), row_kind="tagged-tokens")
    assert [row.text for row in rows] == ["Anna left", "Rome waits", "Bye"]


def test_sentences_may_have_their_number_in_every_row_and_missing_words_are_named(tmp_path):
    lines = [("1", "Anna", "B-PER"), ("1", "left", "O"), ("2", "Rome", "B-LOC"), ("2", "waits", "O")]
    (tmp_path / "a.csv").write_text("sentence_id,word,tag\n" + "".join(",".join(line) + "\n" for line in lines))
    rows, _ = dataset.read_rows(tmp_path / "a.csv", options=DataConfig(), row_kind="tagged-tokens")
    assert [row.text for row in rows] == ["Anna left", "Rome waits"]
    frame = [dict(zip(("Sentence #", "Word", "Tag"), line, strict=True)) for line in lines]
    frame[1]["Sentence #"] = float("nan")
    assert [row.text for row in dataset.read_rows(to_table(frame), options=DataConfig(), row_kind="tagged-tokens")[0]] == [
        "Anna left",
        "Rome waits",
    ]
    (tmp_path / "a.csv").write_text("sentence_id,word,tag\n1,Anna,O\n1,,O\n2,Rome,\n2,x,O\n")
    with pytest.raises(UserError) as caught:
        dataset.read_rows(tmp_path / "a.csv", options=DataConfig(), row_kind="tagged-tokens")
    assert "a.csv:2: word 2 of 2 is empty: ''" in str(caught.value)
    assert "a.csv:4: the word 'Rome' has no tag, found ''" in str(caught.value)
