"""What must survive a restart: past passes, and whether an environment is left alone."""
