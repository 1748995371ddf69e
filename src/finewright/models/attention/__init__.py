"""Attention inside each text of a packed row."""
