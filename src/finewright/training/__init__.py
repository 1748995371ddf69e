"""The loop: step, optimizer, schedule, state, memory meter; no run folder, no terminal."""
