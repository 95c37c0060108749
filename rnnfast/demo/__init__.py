"""What ``python -m rnnfast demo`` does: a character model trained on real text and put to use.

It suits itself to the machine: it measures how fast training is and takes model, schedule and
amount of text from `settings.PLANS`.
"""

from .command import add_arguments, main, run
from .settings import PLANS, Plan, Settings, choose
from .text import Text, ngram_bits

__all__ = [
    "PLANS",
    "Plan",
    "Settings",
    "Text",
    "add_arguments",
    "choose",
    "main",
    "ngram_bits",
    "run",
]
