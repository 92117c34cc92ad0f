"""Facts about a setting, written at its field: what the rest of a run has to know of it beside its type.

Whoever needs them asks the fields (`rules` and `keys_with` in `arguments.py`), and keeps no list of settings by name.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

_FACTS = "facts"  # their key in the metadata of a field


@dataclass(frozen=True)
class Rule:
    """What values of a setting must satisfy, whatever the other settings are.

    Attributes:
        holds: whether a value, which is not None, satisfies it.
        text: the rule in words, for an error message.
    """

    holds: Callable[[Any], bool]
    text: str


AT_LEAST_ONE = Rule(lambda value: value >= 1, "must be at least 1")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "must not be negative")
POSITIVE = Rule(lambda value: 0 < value < math.inf, "must be a positive number")
FINITE = Rule(math.isfinite, "must be a finite number")
FRACTION = Rule(lambda value: 0 <= value < 1, "must be in [0, 1)")
FRACTION_OR_ONE = Rule(lambda value: 0 <= value <= 1, "must be in [0, 1]")


class Fact(enum.Enum):
    """Exceptions from what holds for a setting without any of them, which is the safe assumption about a new one."""

    # It names files or folders: `~` in it is the home folder. It may name something on the Hub instead, which never
    # begins so. Otherwise it is taken as written.
    PATH = enum.auto()
    # It names a folder of this machine. Otherwise reports of the run show it.
    PRIVATE = enum.auto()
    # A resumed run may have another value. Otherwise it has to keep the one that the run began with, as for all that
    # changes what is learnt or what it is measured by.
    MAY_CHANGE = enum.auto()
    # It says when the run ends, so another value is of no use to a run that has finished.
    ENDS_RUN = enum.auto()
    # Of the data or the tokenizer: neither the text of the training pairs nor the vocabulary depends on it. Otherwise
    # another value makes caches unusable. File names are such settings: caches are known by what is in the files.
    LEAVES_TEXT = enum.auto()
    # A fine-tuned model may have another value than its base: it changes how the model is trained or searched, not
    # what its weights mean. Otherwise the base decides.
    MAY_DIFFER = enum.auto()


# So that fields can name them briefly.
PATH, PRIVATE, MAY_CHANGE, ENDS_RUN, LEAVES_TEXT, MAY_DIFFER = Fact


def setting(text: str, default: Any, *facts: Rule | Fact, **flag: Any) -> Any:
    """Return a dataclass field for a setting.

    Args:
        text: what `--help` says of it.
        default: its value where none is given; a list is copied.
        facts: at most one rule, and the facts that hold for it.
        flag: more for `argparse.ArgumentParser.add_argument`.
    """
    metadata = {"help": text, _FACTS: facts, **flag}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def facts_of(key: dataclasses.Field[Any]) -> tuple[Rule | Fact, ...]:
    """Return the rule and the facts of a setting."""
    facts: tuple[Rule | Fact, ...] = key.metadata[_FACTS]
    return facts


def without_facts(concern: type) -> Any:
    """Return a dataclass with the same fields for `HfArgumentParser`, which hands all their metadata to argparse."""
    types = get_type_hints(concern)
    return dataclasses.make_dataclass(
        concern.__name__,
        [
            (
                key.name,
                types[key.name],
                field(
                    default=key.default,
                    default_factory=key.default_factory,
                    metadata={name: value for name, value in key.metadata.items() if name != _FACTS},
                ),
            )
            for key in dataclasses.fields(concern)
        ],
    )
