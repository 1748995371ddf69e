"""Rank 4: half the numbers."""

from peft import LoraConfig, TaskType, get_peft_model
from solution import *


def add_lora(model):
    return get_peft_model(
        model, LoraConfig(task_type=TaskType.SEQ_CLS, r=4, lora_alpha=32, target_modules=["c_attn"], fan_in_fan_out=True)
    )
