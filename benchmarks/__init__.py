"""Benchmarks: Reconciler beside uv and pip, measured as ratios in one run."""
