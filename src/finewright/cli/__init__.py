"""The command line: commands and terminal output."""
