"""The pages: tables, figures, sentences and boxes that only the book shows, and its rendering.

A module stands for a group of chapters; what one chapter alone needs stands in that chapter.
It may import the bench, the study and the library; it reads records and brings no torch.
"""

import logging

# What Matplotlib says when it first meets a home (no cache of fonts yet, no folder for it) is no
# part of a chapter.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
