"""The trees of an environment: how they are cloned, changed, exchanged and kept."""
