"""Studies of the method: what they ask, how they measure it, and the results that they leave.

python -m experiments STUDY [flags]
"""
