"""What the errors of several packages have in common."""


class WrongUseError(ValueError):
    """Something was asked for that cannot be, whatever the data are; the command line ends with exit code 2."""
