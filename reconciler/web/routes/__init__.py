"""The routes, and the table of all of them."""
