"""The course's pages in a browser."""
