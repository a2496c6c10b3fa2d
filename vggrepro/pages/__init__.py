"""The pages: tables, figures, sentences and boxes that only the book shows, and its rendering.

A module stands for a group of chapters; what one chapter alone needs stands in that chapter.
It may import the bench, the study and the library; it reads records and brings no torch.
"""
