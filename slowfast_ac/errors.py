"""The one exception for bad input."""

import re


class InputError(ValueError):
    """Bad input from the user: a file, config key or argument.

    The message is one line that names the file, key or value and says what to do. The command line
    prints it without a traceback and exits with status 2.
    """


def line_of(error: BaseException) -> str | None:
    """Returns the message of an InputError, including one that another process raised.

    A DataLoader's worker and a spawned process send an exception's traceback as text, whose last
    line is the message. Returns None for any other error.
    """
    text = str(error)
    sent = re.findall(rf"^{InputError.__module__}\.InputError: (.*)$", text, re.MULTILINE)
    if sent:
        return str(sent[-1])
    return text if isinstance(error, InputError) else None
