"""Until every chapter stands on `Chapter`."""

from IPython.display import Markdown

from vggrepro.pages.summary import ABOUT_ERRORS, disagreement_sentence
from vggrepro.pages.summary import joined as joined
from vggrepro.pages.verdicts import Verdicts


def agreement(chapter):
    """Whether the two sets of photos agree."""
    claims = [claim for claim in ABOUT_ERRORS if claim.chapter == chapter]
    said = disagreement_sentence(Verdicts(), claims)
    return Markdown(f"**Do the two sets of photos agree?** {said}")
