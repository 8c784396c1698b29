"""The one error that a user's own data can cause."""


class InputError(ValueError):
    """A file or folder the user gave cannot be used; the message names it and the remedy."""

    status = 2  # of the command that it ends
