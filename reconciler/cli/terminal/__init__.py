"""What is printed: tables, progress, errors, and how a pass ended."""
