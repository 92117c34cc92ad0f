"""Detect the header of a TSV or CSV file whose columns are not named, so that it never becomes a sentence pair."""

import re
from pathlib import Path

from .delimited import read_records
from .rows import ColumnNames
from .text_files import text_lines

ISO_639_1 = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es
et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj
kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv
ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti
tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
NAMES = """
source src target tgt trg text texts sentence sentences sent segment string phrase line id idx index row number score
input output translation original reference ref lang language english german french spanish italian portuguese dutch
russian polish czech ukrainian swedish danish norwegian finnish greek turkish arabic hebrew persian hindi bengali
chinese japanese korean vietnamese thai indonesian romanian hungarian bulgarian deutsch français español italiano
português nederlands русский polski čeština українська svenska türkçe 中文 日本語 한국어
"""
CODES, WORDS = frozenset(ISO_639_1.split()), frozenset(NAMES.split())
IDENTIFIER = re.compile(r"[^\W\d]\w*_\w+")  # such as sentence_a, which is no text


def header_columns(path: Path, separator: str, languages: ColumnNames | None) -> ColumnNames | None:
    """Return the columns of a file whose header names both languages, and None for a file without a header.

    Args:
        path: a TSV or CSV file.
        separator: between its fields.
        languages: codes of the two languages, if they are known.

    Raises:
        ValueError: the first line is a header, but does not say which columns are source and target; or as
            `text_lines`.
    """
    _, records = read_records(text_lines(path), separator, has_header=True)
    names = next((record.fields for record in records), [])
    if languages is not None:
        found = [[name for name in names if _plain(name) == code.lower()] for code in languages]
        if all(len(each) == 1 for each in found):
            return ColumnNames(found[0][0], found[1][0])
    if not _is_header(names):
        return None
    first, second = [name for name in names if _is_name(name)][:2]
    raise ValueError(
        f"{path}: the first line looks like a header with the columns {', '.join(map(repr, names))}; name two of "
        f"them, for example source_column: {first} and target_column: {second}; if it is a sentence pair, add a header "
        "above it and name its columns"
    )


def _is_header(fields: list[str]) -> bool:
    """Return whether at least two fields are names of columns, and the others are single words."""
    others = [field for field in fields if not _is_name(field)]
    return len(fields) - len(others) >= 2 and all(len(field.split()) <= 1 for field in others)


def _is_name(field: str) -> bool:
    """Return whether a field can hardly be anything but the name of a column: a language code, words such as
    "source text" or an identifier."""
    name = _plain(field)
    parts = [part.rstrip("0123456789") for part in re.split(r"[\s_-]+", name)]
    is_of_words = all(part in WORDS | CODES for part in parts) and any(part in WORDS for part in parts)
    return name in CODES or is_of_words or IDENTIFIER.fullmatch(name) is not None


def _plain(name: str) -> str:
    """Return a name without case, blanks and the quotes of a file that quotes only its header."""
    return name.strip(' "').lower()
