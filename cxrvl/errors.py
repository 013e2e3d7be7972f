"""What may go wrong through the user's input: errors the command line prints as one clear message."""


class CxrvlError(Exception):
    """Base of all errors a user can mend.

    The message says what was found, what was expected, where (file, row, key), and what to do.
    The command line prints it without a traceback and leaves with exit code 2.
    """


class ConfigError(CxrvlError):
    """A config key, value, target or override that cannot be right."""


class DataError(CxrvlError):
    """A table, split, label or file set that cannot be used as it is."""


class ImageError(DataError):
    """One image file that cannot be read; the message names the file and the reason."""


class WeightsError(CxrvlError):
    """Weights that do not belong to the model they are loaded into."""


class RunError(CxrvlError):
    """A run, store or evaluation in a state that forbids what was asked."""


class RankError(Exception):
    """A process of a run ended before its work was done.

    Attributes:
        summary: which one, and of what, in one line.
        killed: it was killed from outside (such as for want of memory): asked again, the run continues.
    """

    def __init__(self, summary: str, details: str = "", killed: bool = False) -> None:
        """Take the traceback, or the last words, of that process as `details`."""
        super().__init__(f"{summary}\n{details}".strip())
        self.summary, self.killed = summary, killed
