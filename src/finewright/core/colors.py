"""One colour for each method, in every chart: reports, the course, pages."""

METHOD_COLORS = (
    ("#b3205a", "#ff8ab8"),
    ("#0b62c4", "#6cb1ff"),
    ("#b3440a", "#ff9d66"),
    ("#0b7a53", "#4fd0a0"),
    ("#8a2f8f", "#dd9be2"),
    ("#8a6100", "#e3b341"),
    ("#0f7490", "#5fcbe8"),
)
"""On light and on dark paper, in the order of the methods' names; with more methods they repeat."""
BASELINE_COLOR = ("#4d5c6b", "#a9b6c2")
"""Of whatever is no method, on light and on dark paper."""
