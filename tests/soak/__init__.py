"""The service at work for a long time, and what it holds on to."""
