#!/usr/bin/env python3
"""A report."""

# /// script
# requires-python = ">=3.8"
# dependencies = [
#   "alpha<2",
#   "delta[fast]",
#   "gamma; sys_platform == 'win32'",  # not here
# ]
# ///

raise SystemExit("never run")
