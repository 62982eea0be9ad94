"""What must outlive the process: past passes, and whether an environment is left alone."""
