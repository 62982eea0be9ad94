"""Driving uv: what it is asked, how it is run, and what its answers mean."""
