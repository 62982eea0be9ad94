"""Copies of held packages, and how what is installed differs from them."""
