"""What runs beside the command, inside the container: a Ray head of its own, and a look at what is installed.

This package stands alone: the standard library of Python 3.9 and nothing of the rest of this project, since it
is carried into containers as one archive and run by whatever Python is there. `job/archive.py` packs it.
"""
