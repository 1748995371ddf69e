"""Exercises are graded in a process of their own."""
