"""Does not set alpha: PEFT's default is 8, so the scale is 1."""

from peft import LoraConfig, TaskType, get_peft_model
from solution import *


def add_lora(model):
    return get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, r=8, target_modules=["c_attn"], fan_in_fan_out=True))
