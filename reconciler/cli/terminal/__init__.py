"""What commands print: tables, progress, errors, and the result of a pass."""
