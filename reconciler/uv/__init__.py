"""Driving uv: what it is told, how it is run, and what its answers mean."""
