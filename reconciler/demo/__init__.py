"""A demo on a throw-away environment: real commands, made-up packages, no network.

Writes only below a temporary folder, which is removed at the end.
"""
