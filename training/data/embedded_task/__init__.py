"""A translation task that needs no download: English and German sentences from a grammar of our own.

`lexicon_*.py` hold the words (`words.py`), `phrases.py` the meanings both languages render, `german.py` and
`english.py` the wording; `choose_*.py`, `statements.py`, `questions.py` and `joined.py` draw random sentences,
`sentences.py` mixes them, and `splits.py` deals them into parts.
"""

from .splits import load_split

__all__ = ["load_split"]
