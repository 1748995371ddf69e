"""A model over texts: scores and predictions."""
