"""Errors meant for the person at the keyboard: one clear line, no traceback."""

from __future__ import annotations


class NeuroprintError(Exception):
    """A problem the user can mend. The message says what was found, what was expected and what to do."""


class CaseError(NeuroprintError):
    """One case cannot be used. The rest of the cohort still can.

    Args:
        case: Id of the case.
        problem: What was found in which file, what was expected, and what to do.
    """

    def __init__(self, case: str, problem: str) -> None:
        super().__init__(f"case {case}: {problem}")
        self.case = case
        self.problem = problem

    def __reduce__(self) -> tuple[type[CaseError], tuple[str, str]]:
        return type(self), (self.case, self.problem)
