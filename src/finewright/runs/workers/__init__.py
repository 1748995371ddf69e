"""Processes that runs and checks happen in."""
