"""One run on disk: request, fingerprint, checkpoints, session, pipeline, verification, model folder, workers."""
