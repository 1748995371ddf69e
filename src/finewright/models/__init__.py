"""Transformers models: load, describe, quantize, adapt and accelerate them, and run them over packed rows."""
