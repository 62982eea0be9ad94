"""A pass, from the first look to the recorded outcome, and the only way to the live tree."""
