"""Logs."""

from finewright.core import jsonl


def test_lines_are_added_sealed_and_cut_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert jsonl.digest(path)["bytes"] == 0
    jsonl.append(path, {"step": 1, "what": "größer"})
    sealed = jsonl.digest(path)
    jsonl.append(path, {"step": 2})
    assert jsonl.check(path, sealed) == ""
    jsonl.truncate(path, sealed["bytes"])
    assert path.read_text() == '{"step": 1, "what": "größer"}\n'
    jsonl.truncate(path, 10_000)
    assert jsonl.digest(path) == sealed


def test_a_changed_or_missing_beginning_is_found(tmp_path):
    path = tmp_path / "metrics.jsonl"
    jsonl.append(path, {"step": 1})
    sealed = jsonl.digest(path)
    for content in (b'{"step": 7}\n', b"", b'{"step":'):
        path.write_bytes(content)
        assert jsonl.check(path, sealed) == "metrics.jsonl is not what was saved"
    path.unlink()
    assert jsonl.check(path, sealed) == "metrics.jsonl is not what was saved"
