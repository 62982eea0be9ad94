"""Looks for whatever could stand in the way of a reconciliation, each with its mend.

Changes nothing: what it tries (a hard link, an exchange) it tries in the workspace, and
removes again.
"""

from reconciler.doctor.examination import WhoAnswers, examine
from reconciler.doctor.finding import Finding, Verdict, problem

__all__ = ["Finding", "Verdict", "WhoAnswers", "examine", "problem"]
