"""The one error that a user's own data can cause is one line."""

from cxr_jax.errors import InputError


def test_a_message_is_one_line_whatever_a_file_is_called():
    error = InputError("films/two\nlines.png: no\r\nfilm\u2028at all")
    assert str(error) == "films/two lines.png: no film at all"
    assert str(InputError("plain")) == "plain"
