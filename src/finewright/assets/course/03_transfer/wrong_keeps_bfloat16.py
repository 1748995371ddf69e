"""Takes the stored dtype: a small step no longer changes a number of 16 bits."""

from solution import *
from transformers import AutoModelForSequenceClassification


def pretrained(folder, num_labels):
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=num_labels)
    model.config.pad_token_id = model.config.eos_token_id
    return model
