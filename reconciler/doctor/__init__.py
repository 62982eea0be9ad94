"""Finds anything that could get in the way of a reconciliation, and says how to fix it.

Changes nothing: it tries things (a hard link, an exchange) in the workspace, and cleans up.
"""

from reconciler.doctor.examination import WhoAnswers, examine
from reconciler.doctor.finding import Finding, Verdict, problem

__all__ = ["Finding", "Verdict", "WhoAnswers", "examine", "problem"]
