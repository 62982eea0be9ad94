"""Reconciler as a service of the machine: its units, and how they get where systemd reads them."""
