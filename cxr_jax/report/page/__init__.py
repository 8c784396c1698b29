"""report.html: explained films as one page that people read, without a network.

`content` says what the page shows, `of_run` and `of_walks` take it from what explaining has found,
`view` turns it into pictures, curves and sentences, and `render` into HTML.
"""
