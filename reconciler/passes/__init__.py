"""A pass, from looking to a recorded outcome, and the one door to the live tree."""
