"""The summary of a comparison for Python."""

from dataclasses import replace

from finewright.comparison.score_table import ComparisonSummary
from support import made


def summarise(tmp_path, entries):
    return ComparisonSummary.from_file(made.results_file(made.standing(entries), tmp_path))


def test_each_method_has_its_median_score_its_interval_and_its_cost(tmp_path):
    summary = summarise(tmp_path, [made.entry("lora", 0.9, seeds=3), made.entry("majority", 0.5, kind="baseline", number=1)])
    lora, majority = summary.methods
    expected = sorted(made.predictions(0.9, seeds=3).right.mean(axis=1))[1]
    assert (lora.method, lora.score, lora.num_seeds) == ("lora", expected, 3)
    assert lora.score_ci95[0] <= lora.score <= lora.score_ci95[1]
    assert (lora.train_seconds, lora.peak_memory_bytes, lora.artifact_bytes) == (2.0, 200_000_000, 1_000_000)
    assert (majority.peak_memory_bytes, majority.artifact_bytes) == (None, None)


def test_printed_it_is_a_table_with_the_verdict(tmp_path):
    missing = made.entry("prompt", None, reasons=["does not fit: planned peak 9.00 GB"])
    summary = summarise(tmp_path, [*made.usual(), missing])
    head, first, *_, reason, empty, verdict = str(summary).splitlines()
    assert head.split() == ["method", "test", "accuracy", "95%", "interval", "seconds", "memory", "saved"]
    assert first.split()[0] == summary.methods[0].method
    assert (reason, empty, verdict) == ("prompt: does not fit: planned peak 9.00 GB", "", summary.verdict)
    assert "Pre-training was worth" in verdict
    assert "nan" not in str(replace(summary, methods=()))
