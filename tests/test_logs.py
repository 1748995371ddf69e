"""Logs."""

from finewright import logs


def test_lines_are_added_sealed_and_cut_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert logs.seal(path)["bytes"] == 0
    logs.append(path, {"step": 1, "what": "größer"})
    sealed = logs.seal(path)
    logs.append(path, {"step": 2})
    assert logs.fault(path, sealed) == ""
    logs.cut(path, sealed["bytes"])
    assert path.read_text() == '{"step": 1, "what": "größer"}\n'
    logs.cut(path, 10_000)
    assert logs.seal(path) == sealed


def test_a_changed_or_missing_beginning_is_found(tmp_path):
    path = tmp_path / "metrics.jsonl"
    logs.append(path, {"step": 1})
    sealed = logs.seal(path)
    for content in (b'{"step": 7}\n', b"", b'{"step":'):
        path.write_bytes(content)
        assert logs.fault(path, sealed) == "metrics.jsonl is not what was saved"
    path.unlink()
    assert logs.fault(path, sealed) == "metrics.jsonl is not what was saved"
