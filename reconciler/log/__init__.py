"""Logging: records, event names, and keeping secrets out."""
