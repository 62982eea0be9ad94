"""The trees of an environment: cloned, changed, exchanged, kept."""
