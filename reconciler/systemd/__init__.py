"""Reconciler as a systemd service: its units, how they are installed, and what systemd is told."""
