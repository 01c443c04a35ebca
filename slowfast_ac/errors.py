"""The one exception for bad input."""


class InputError(ValueError):
    """Bad input from the user: a file, config key or argument.

    The message is one line that names the file, key or value and says what to do. The command line
    prints it without a traceback and exits with status 2.
    """
