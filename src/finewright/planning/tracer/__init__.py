"""Memory and operations of a training step, traced on tensors without data."""
