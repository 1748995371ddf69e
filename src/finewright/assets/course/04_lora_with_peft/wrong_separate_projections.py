"""Query and value are modules of their own in other models, not in GPT-2."""

from peft import LoraConfig, TaskType, get_peft_model
from solution import *


def add_lora(model):
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=32, target_modules=["q_proj", "v_proj"])
    return get_peft_model(model, config)
