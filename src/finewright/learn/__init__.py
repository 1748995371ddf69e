"""The course; nothing imports it but the command line."""
