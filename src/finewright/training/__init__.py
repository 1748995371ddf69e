"""The training loop: step, optimizer, schedule, state and memory meter. Nothing here writes files or to the terminal."""
