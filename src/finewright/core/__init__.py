"""Errors, options, events, files, cache, interrupts, units, hardware: nothing about learning."""
