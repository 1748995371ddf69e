"""Scores and predictions of a model for texts."""
