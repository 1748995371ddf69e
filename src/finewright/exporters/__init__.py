"""A finished run in another form, checked against the run. One file per form."""
