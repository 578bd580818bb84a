"""Errors caused by input. The command line prints them as one line and exits with status 2."""


class One2345Error(Exception):
    """Base of every error whose cause is the user's input rather than a defect of the program."""


class InputError(One2345Error):
    """A file, a key or a value that cannot be used; the message names it and says what to do."""


class SharedError(InputError):
    """One that all ranks of a run raise alike, at the same step: the first of them says it for all."""


class EmptySurfaceError(One2345Error):
    """A signed distance field without a zero crossing; the message carries the field's range."""


class CheckpointError(One2345Error):
    """Weights that are missing, damaged or belong to another model."""


class Stopped(BaseException):
    """Not an error: the run was asked to stop and has done so. The same command goes on from its last checkpoint.

    Like KeyboardInterrupt it is no Exception, so that nothing takes it for a failure on its way up.
    """
