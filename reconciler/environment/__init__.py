"""One managed environment: how it is found and created, and what runs in it."""
