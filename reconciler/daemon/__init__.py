"""The running service: a worker per environment, and its ties to the machine."""
