"""The one error that a user's own data can cause."""


class InputError(ValueError):
    """A file or folder the user gave cannot be used; the message names it and the remedy.

    It is one line, whatever the file is called.
    """

    status = 2  # of the command that it ends

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))
