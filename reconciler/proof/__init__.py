"""Whether what was there can still be imported: which modules, by whom, and what is to blame."""
