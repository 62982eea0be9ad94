"""The routes: what each answers, and the table of all of them."""
