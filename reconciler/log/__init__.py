"""What the program says of itself: records, their names, and the secrets kept out of them."""
