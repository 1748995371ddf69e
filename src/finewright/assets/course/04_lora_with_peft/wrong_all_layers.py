"""LoRA on every linear module."""

from peft import LoraConfig, TaskType, get_peft_model
from solution import *


def add_lora(model):
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS, r=8, lora_alpha=32, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True
        ),
    )
