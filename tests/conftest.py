"""Shared fixtures."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side; spinning threads of busy cores slow each other many times
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import finewright  # noqa: E402, F401  before torch, as for a user: it tells torch's C++ side to be quiet
