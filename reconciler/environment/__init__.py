"""One managed environment: how it is found, created and trusted, and what runs in it."""
