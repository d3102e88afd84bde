"""Where measurements made elsewhere are read from: one module per kind, each to a table of plain columns."""
