"""A transformers model, loaded, described, quantised, adapted, made fast, and run over packed rows."""
