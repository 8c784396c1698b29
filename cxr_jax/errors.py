"""The one error that a user's own data can cause."""


class InputError(ValueError):
    """Something the user can mend: a file, a flag, a field; the message names it and the remedy.

    It is one line, whatever the file is called.
    """

    status = 2  # of the command that it ends

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))
