"""Tables in Markdown."""


def table(header, rows):
    """The lines of a table: a header, the ruler below it, and rows of cells, all strings."""
    return [row(header), row(["---"] * len(header), ""), *map(row, rows)]


def row(cells, space=" "):
    """One line of a table."""
    return "|" + "|".join(f"{space}{cell}{space}" if cell else space for cell in cells) + "|"
