"""Does not name the task, so PEFT freezes the fresh head with the rest."""

from peft import LoraConfig, get_peft_model
from solution import *


def add_lora(model):
    return get_peft_model(model, LoraConfig(r=8, lora_alpha=32, target_modules=["c_attn"], fan_in_fan_out=True))
