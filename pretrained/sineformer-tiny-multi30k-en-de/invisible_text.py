"""Detect text without visible characters, which has nothing to translate."""

import unicodedata

# Spaces and line breaks, control characters (C0, C1), and format characters such as U+00AD, U+200B, U+2060, U+FEFF and
# the bidirectional marks. Not unassigned characters: they may be visible in a later Unicode than this Python's.
INVISIBLE_CATEGORIES = {"Zs", "Zl", "Zp", "Cc", "Cf"}
# Default-ignorable characters of other categories (fillers, variation selectors, tags), and the empty Braille cell,
# which is drawn as a blank.
INVISIBLE_RANGES = (
    *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065), (0x2800, 0x2800)),
    *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)),
)
# Visible format characters: signs over numbers in Arabic, Syriac and Kaithi.
VISIBLE_FORMATS = {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}


def is_invisible(text: str) -> bool:
    """Return whether `text` has no visible character: it is empty, or all blanks and invisible characters."""
    return all(_is_invisible_character(character) for character in text)


def _is_invisible_character(character: str) -> bool:
    point = ord(character)
    if unicodedata.category(character) in INVISIBLE_CATEGORIES:
        return point not in VISIBLE_FORMATS
    return any(first <= point <= last for first, last in INVISIBLE_RANGES)
