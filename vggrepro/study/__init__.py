"""The study: the paper as data, what is run and how much of it, the records, what they decide.

Everything that is about this study and not about nets in general lives here.
It may import the library (`vggrepro/*.py`, `vggrepro/data/`), but not `bench` and not `pages`.
Only the modules that train and test (`runner` and what it calls, `first_steps`) bring torch.
"""
