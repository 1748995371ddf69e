"""Leaves the padding id open; a batch of several texts is then refused."""

import torch
from solution import *
from transformers import AutoModelForSequenceClassification


def pretrained(folder, num_labels):
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=num_labels, dtype=torch.float32)
