"""Generate a translation task without a download: English and German sentences from a small grammar.

`lexicon_*.py` hold the words (`words.py`), `phrases.py` the meaning of a sentence, `german.py` and `english.py` its
wording; `choose_*.py`, `statements.py`, `questions.py` and `joined.py` draw random sentences, `sentences.py` mixes
them, and `splits.py` assigns them to splits.
"""

from .splits import load_split

__all__ = ["load_split"]
