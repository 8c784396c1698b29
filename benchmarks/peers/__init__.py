"""PyTorch peers of our steps, timed side by side with them; an optional extra (`.[torch]`).

They do the same work, as one who knows PyTorch would write it, so that a comparison is fair. No
module here imports JAX or this project beyond this folder: a peer also runs where neither is
installed. What was decided in PyTorch's favour is told where it was decided.
"""
