"""The page of a comparison: tables, figures, document."""
