"""Make tokens readable as labels."""


def visible(token: str) -> str:
    """Return a token with its first blank as a sign, and escapes for what cannot be seen, such as a line break."""
    shown = "\N{OPEN BOX}" + token[1:] if token.startswith(" ") else token
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
