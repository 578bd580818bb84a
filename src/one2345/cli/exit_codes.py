"""What a process of one2345 leaves behind as its exit status."""

DONE = 0
CRASH = 1
"""A defect, or a machine that failed; Python's own status of an error that nobody handled."""
INPUT = 2
"""Something that the user can mend, in one line on stderr. The same command would fail again: it is never requeued."""
RESUMABLE = 75
"""Stopped on request (a signal) before it was done; the same command goes on from the last checkpoint. EX_TEMPFAIL of
sysexits.h. Of several ranks the first leaves with it, the others with 0."""
