"""The packaged data set `topics`: what its README says of it is so."""

import csv
import importlib.util
from collections import Counter
from pathlib import Path

from finewright.core import assets
from finewright.core.config import DataConfig
from finewright.data import dataset

README = (assets.TOPICS / "README.md").read_text(encoding="utf-8")
SPLITS = ("train", "validation", "test")


def read(split):
    with (assets.TOPICS / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["topics"]) for row in csv.DictReader(file)]


def test_it_is_small_and_found_by_its_name():
    assert sum(path.stat().st_size for path in assets.TOPICS.iterdir()) < 60_000
    assert dataset.detect_row_kind("topics", options=DataConfig())[0] == "multi-label"
    found = dataset.read_dataset("topics", options=DataConfig(), row_kind="multi-label")
    assert found.labels == ("account", "billing", "defect", "delivery", "praise", "refund", "urgent")


def test_the_readme_counts_its_topics():
    names = ("none", "delivery", "refund", "defect", "billing", "account", "praise", "urgent")
    for split in SPLITS:
        rows = read(split)
        counts = Counter(topic for _, topics in rows for topic in (topics.split("|") if topics else ["none"]))
        assert f"| {split} | {len(rows)} | {' | '.join(str(counts[name]) for name in names)} |" in README


def test_no_text_occurs_twice():
    texts = [text.casefold() for split in SPLITS for text, _ in read(split)]
    assert len(set(texts)) == len(texts)


def test_the_script_writes_these_rows():
    path = Path(__file__).parents[2] / "scripts" / "build_topics.py"
    spec = importlib.util.spec_from_file_location("build_topics", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.build_rows() == {split: read(split) for split in SPLITS}
