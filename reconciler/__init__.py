"""Keeps a Python environment equal to its pyproject.toml, and never touches what is held."""

__version__ = "0.1.0"
