"""vggrepro: the VGG paper (Simonyan & Zisserman, 2014), rerun and decided claim by claim."""

__version__ = "0.1.0"


class UserError(Exception):
    """A bad input or environment, with one message that says what is wrong and what to do.

    The command line prints the message alone and exits with status 1; a traceback would
    only hide it.
    """
