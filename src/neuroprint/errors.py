"""Errors meant for the person at the keyboard: one clear line, no traceback."""

from __future__ import annotations


class NeuroprintError(Exception):
    """A problem the user can mend. The message says what was found, what was expected and what to do."""


def one_line(text: str) -> str:
    r"""A text with whatever would break its line, as a file's name may hold, in escapes.

    Example:
        >>> one_line("a\nb")
        'a\\nb'
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


class CaseError(NeuroprintError):
    """One case cannot be used. The rest of the cohort still can.

    Args:
        case: Id of the case.
        problem: What was found in which file, what was expected, and what to do. It is kept to one line.
    """

    def __init__(self, case: str, problem: str) -> None:
        problem = one_line(problem)
        super().__init__(f"case {case}: {problem}")
        self.case = case
        self.problem = problem

    def __reduce__(self) -> tuple[type[CaseError], tuple[str, str]]:
        return type(self), (self.case, self.problem)
