"""Does not say how many labels there are; transformers then makes a head for two."""

import torch
from solution import *
from transformers import AutoModelForSequenceClassification


def pretrained(folder, num_labels):
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model.config.pad_token_id = model.config.eos_token_id
    return model
