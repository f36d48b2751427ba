"""The few exceptions that end a process. What people write wrongly is a Problem, never an exception.

::

    ApostilleError            exit 1
    ├── StartError            exit 1   could not start; starting again by itself will not help
    └── ChildError            exit 70  a child process kept dying; starting again may help
"""

from __future__ import annotations


class ApostilleError(Exception):
    """Its text is for people: what failed, where, and what to do."""

    exit_code = 1


class StartError(ApostilleError):
    exit_code = 1


class ChildError(ApostilleError):
    exit_code = 70
