"""CSV and TSV as spreadsheets, databases and people write them."""

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import readers
from finewright.data.dataset import read_rows

OPTIONS = DataConfig()


def rows_of(tmp_path, name, content, options=OPTIONS):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    rows, notes = read_rows(tmp_path / name, options=options)
    return [(row.text, row.label) for row in rows], " | ".join(notes)


def values_of(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    records, notes = readers.read_records(tmp_path / name)
    return [list(record.values.values()) for record in records], " | ".join(notes)


def test_a_tsv_whose_quotes_do_not_pair_up_has_none(tmp_path):
    content = 'text\tlabel\n"a lone quote\tpos\nplain\tneg\nsaid "x"\tpos\n"whole"\tneg\nplain\tpos\n'
    rows, notes = rows_of(tmp_path, "a.tsv", content)
    assert rows == [('"a lone quote', "pos"), ("plain", "neg"), ('said "x"', "pos"), ('"whole"', "neg"), ("plain", "pos")]
    assert "a.tsv: quotes are read as part of the fields" in notes


def test_quotes_of_two_rows_of_a_tsv_do_not_pair_up_over_a_line_end(tmp_path):
    rows, notes = rows_of(tmp_path, "a.tsv", 'text\tlabel\n"begins so\tpos\nends so"\tneg\nplain\tpos\n')
    assert rows == [('"begins so', "pos"), ('ends so"', "neg"), ("plain", "pos")]
    assert "quotes are read as part of the fields" in notes


def test_a_quoted_tsv_stays_quoted_and_its_faults_named(tmp_path):
    rows, _ = rows_of(tmp_path, "a.tsv", 'text\tlabel\n"two\nlines\tand a tab"\tpos\nplain\tneg\n')
    assert rows == [("two\nlines\tand a tab", "pos"), ("plain", "neg")]
    with pytest.raises(UserError, match=r"b\.tsv:3: text follows a closing quote"):
        rows_of(tmp_path, "b.tsv", 'text\tlabel\n"so ""quoted"" it"\tpos\n"x"y\tneg\n')


def test_quotes_escaped_by_a_backslash(tmp_path):
    content = 'text,label\n"he said \\"hi, you\\" twice",a\n"C:\\\\",b\n"ends so \\"",a\nC:\\new,b\n'
    rows, notes = rows_of(tmp_path, "a.csv", content)
    assert rows == [('he said "hi, you" twice', "a"), ("C:\\", "b"), ('ends so "', "a"), ("C:\\new", "b")]
    assert '\\" is read as a quote' in notes


def test_an_empty_field_at_the_end_of_every_row_is_left_out(tmp_path):
    rows, notes = rows_of(tmp_path, "a.csv", "text,label\none,a,\ntwo,b,\n")
    assert rows == [("one", "a"), ("two", "b")]
    assert rows_of(tmp_path, "d.csv", "text,label\none,a,,\ntwo,b,,\n")[0] == rows
    assert "every row ends with empty fields that the header lacks" in notes
    with pytest.raises(UserError, match=r"b\.csv:2: 3 fields, the header has 2\n  →"):
        rows_of(tmp_path, "b.csv", "text,label\none,a,\ntwo,b\n")
    with pytest.raises(UserError, match=r"c\.csv:3: 3 fields, the header has 2"):
        rows_of(tmp_path, "c.csv", "text,label\none,a,\ntwo,b,c\n")


def test_columns_without_a_name_are_ignored(tmp_path):
    content = "v1,v2,,,\n" + "".join(f'{"ham" if n % 2 else "spam"},"message number {n}, and more words",,,\n' for n in range(20))
    for options in (OPTIONS, DataConfig(text_column="v2", label_column="v1")):
        rows, _ = rows_of(tmp_path, "a.csv", content, options)
        assert rows[1] == ("message number 1, and more words", "ham")
    assert rows_of(tmp_path, "b.csv", "text,label,,\nx,a,,\ny,b,,\n")[0] == [("x", "a"), ("y", "b")]


def test_two_columns_of_one_name_matter_only_if_that_name_is_asked_for(tmp_path):
    content = "text,label,note,note\nx,a,1,2\n"
    assert rows_of(tmp_path, "a.csv", content)[0] == [("x", "a")]
    with pytest.raises(UserError, match=r"a\.csv:1: two columns are named 'note'"):
        rows_of(tmp_path, "a.csv", content, DataConfig(text_column="note"))
    with pytest.raises(UserError, match=r"b\.csv:1: two columns are named 'text'"):
        rows_of(tmp_path, "b.csv", "text,text,label\nx,y,a\n")


@pytest.mark.parametrize("header", ["label, text", 'label, "text"'])
def test_a_space_before_a_quote(tmp_path, header):
    rows, notes = rows_of(tmp_path, "a.csv", f'{header}\na, "one, two"\nb, "three"\na, "four ""five"" six"\n')
    assert rows == [("one, two", "a"), ("three", "b"), ('four "five" six', "a")]
    assert "spaces after a separator were left out" in notes


def test_a_doubled_quote_after_a_comma_is_no_space_before_a_quote(tmp_path):
    rows, notes = rows_of(tmp_path, "a.csv", 'text,label\n"he said, ""hi""",a\n"x, ""y""",b\n')
    assert (rows, notes) == ([('he said, "hi"', "a"), ('x, "y"', "b")], "")


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_line_for_excel_names_the_separator(tmp_path, first):
    rows, notes = rows_of(tmp_path, "a.csv", f"{first}\r\ntext;label\r\nx, y;a\r\n")
    assert rows == [("x, y", "a")]
    assert "1 line above the header was left out" in notes
    assert readers.read_records(tmp_path / "a.csv")[0][0].where == "a.csv:3"


def test_comments_and_a_title_above_the_header(tmp_path):
    table = "text,label\n" + "one,a\ntwo,b\n" * 5
    rows, notes = rows_of(tmp_path, "a.csv", "# made in May\n# by me, and others, and more\n" + table)
    assert (len(rows), rows[0]) == (10, ("one", "a"))
    assert "2 lines above the header were left out" in notes
    assert rows_of(tmp_path, "b.csv", "Tickets of 2024\n\n" + table)[0] == rows
    assert rows_of(tmp_path, "d.csv", "Tickets, by team\nMay,2024\n" + table)[0] == rows
    assert rows_of(tmp_path, "c.csv", "#id,text,label\n1,one,a\n2,two,b\n")[0] == [("one", "a"), ("two", "b")]


def test_a_file_of_one_column_has_no_title(tmp_path):
    with pytest.raises(UserError, match="2 fields, the header has 1"):
        values_of(tmp_path, "a.csv", "text\nhello, you\nbye, you\nwell, then\n")


def test_ctrl_z_ends_a_file(tmp_path):
    assert rows_of(tmp_path, "a.csv", "text,label\r\nx,a\r\n\x1a")[0] == [("x", "a")]
    assert rows_of(tmp_path, "b.csv", "text,label\nx\x1ay,a\n\x1a\n")[0] == [("x\x1ay", "a")]


def test_a_file_without_a_header_is_recognised_and_can_be_read(tmp_path):
    rows = [(f"please tell me, where is parcel {n}", "billing" if n % 2 else "shipping") for n in range(20)]
    for name, sep in (("a.csv", ","), ("a.tsv", "\t"), ("b.csv", ";")):
        content = "".join(f'"{text}"{sep}{label}\n' for text, label in rows)
        with pytest.raises(UserError, match=r"the first line looks like a row.*\n.*--no-header"):
            rows_of(tmp_path, name, content)
        with pytest.raises(UserError, match="the first line looks like a row"):
            rows_of(tmp_path, name, content, DataConfig(text_column="1", label_column="2"))
        for options in (DataConfig(no_header=True), DataConfig(no_header=True, text_column="1", label_column="2")):
            read, _ = rows_of(tmp_path, name, content, options)
            assert read == rows


def test_columns_by_number_with_a_header(tmp_path):
    options = DataConfig(text_column="2", label_column="3")
    assert rows_of(tmp_path, "a.csv", "id,body,team\n1,x,a\n2,y,b\n", options)[0] == [("x", "a"), ("y", "b")]


def test_words_and_numbers_stay_as_written(tmp_path):
    content = "text,label\n" + "\n".join(f"x {n},{label}" for n, label in enumerate(["01", "TRUE", "None", "NA", "null", "1.0"]))
    assert [label for _, label in rows_of(tmp_path, "a.csv", content)[0]] == ["01", "TRUE", "None", "NA", "null", "1.0"]


def test_the_separator_of_a_file_without_header_is_what_all_rows_have(tmp_path):
    content = "".join(f"Hello, please, thanks, {'and more, ' * (n % 3)}{n};{'ab'[n % 2]}\n" for n in range(10))
    rows, _ = rows_of(tmp_path, "a.csv", content, DataConfig(no_header=True, text_column="1", label_column="2"))
    assert rows[0] == ("Hello, please, thanks, 0", "a")


def test_a_table_by_any_name_is_told_by_its_content(tmp_path):
    for name in ("a.txt", "a.data", "a"):
        rows, notes = rows_of(tmp_path, name, "text\tlabel\nx\ta\ny\tb\n".encode("utf-16"))
        assert rows == [("x", "a"), ("y", "b")]
        assert f"{name}: read as tsv, by its content; --format says otherwise" in notes
    assert rows_of(tmp_path, "b.data", '{"text": "x", "label": "a"}\n{"text": "y", "label": "b"}\n')[0][0] == ("x", "a")
    assert rows_of(tmp_path, "c.txt", '[{"text": "x", "label": "a"}]')[0] == [("x", "a")]


def test_the_format_can_be_said(tmp_path):
    assert rows_of(tmp_path, "a.xyz", "text|label\nx|a\n", DataConfig(format="csv"))[0] == [("x", "a")]
    with pytest.raises(UserError, match=r"--format: unknown format 'excel'\n.*one of .*csv, tsv"):
        rows_of(tmp_path, "a.xyz", "x", DataConfig(format="excel"))
