"""Questions of the quiz that are made from a person's own runs."""
