"""Test the detection of text without visible characters."""

from __future__ import annotations

import pytest

from sineformer.modeling.invisible_text import is_invisible

NOTHING = {
    "blanks and line breaks": " \t\r\n\u00a0\u2003\u2028\u3000",
    "zero width": "\u200b\u200c\u200d\u2060\ufeff",
    "soft hyphen": "\u00ad",
    "direction": "\u200e\u200f\u202a\u202e\u2066\u2069\u061c",
    "control": "\x00\x07\x1b\x7f\x85",
    "variation selectors": "\ufe0f\ufe00\U000e0100\u180b",
    "fillers": "\u3164\u115f\u1160\uffa0\u034f\u17b4\u2800",
    "tags": "\U000e0001\U000e0065\U000e007f",
}


@pytest.mark.parametrize("text", ["", *NOTHING.values(), "".join(NOTHING.values())], ids=["empty", *NOTHING, "all"])
def test_invisible_text(text: str) -> None:
    assert is_invisible(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a",
            ".",
            "\u200b.\u200b",
            "1",
            "語",
            "ب",
            "❤\ufe0f",
            "👩\u200d👧",
            "🏴\U000e0067\U000e007f",
            "\u0301",
            "\ufffd",
        ),
        "\u0600",  # an Arabic number sign, a format character that is drawn
        "\ue000",  # private use: some font draws it
        "\U0001fbff",  # not assigned in every Unicode
    ],
)
def test_visible_text(text: str) -> None:
    assert not is_invisible(text)
