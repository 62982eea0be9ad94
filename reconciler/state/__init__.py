"""The pure part: what is declared, what is installed, and how the two differ."""
