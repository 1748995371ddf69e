"""Commands, and how everything looks in a terminal."""
