"""One file per task: targets, loss, metrics, form of a prediction."""
