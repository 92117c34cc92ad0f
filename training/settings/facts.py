"""Define the facts about a setting that are declared at its field, beside its type.

Other modules query the fields (`rules` and `keys_with` in `arguments.py`) instead of listing settings by name.
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
    """A condition on the values of one setting.

    Attributes:
        holds: whether a value other than None satisfies it.
        text: the rule in words, for an error message.
    """

    holds: Callable[[Any], bool]
    text: str


AT_LEAST_ONE = Rule(lambda value: value >= 1, "must be at least 1")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "must not be negative")
POSITIVE = Rule(lambda value: 0 < value < math.inf, "must be a positive number")
FINITE = Rule(math.isfinite, "must be a finite number")
PAIRS_OR_SHARE = Rule(
    lambda value: 0 < value < 1 or (value >= 1 and value % 1 == 0), "must be a number of pairs or a share in (0, 1)"
)
FRACTION = Rule(lambda value: 0 <= value < 1, "must be in [0, 1)")
FRACTION_OR_ONE = Rule(lambda value: 0 <= value <= 1, "must be in [0, 1]")


class Fact(enum.Enum):
    """Exceptions from the defaults for a setting; the defaults are safe for a new one."""

    # Names files or folders, so `~` is expanded. It may be a name on the Hub instead, which never starts with `~`.
    # Default: the value is used as written.
    PATH = enum.auto()
    # Names a folder of this machine. Default: reports of the run show it.
    PRIVATE = enum.auto()
    # May change when a run is resumed. Default: a resumed run must keep the value, because it affects what is learnt or
    # how it is measured.
    MAY_CHANGE = enum.auto()
    # Limits the length of the run, so a new value has no effect on a finished run.
    ENDS_RUN = enum.auto()
    # For data and tokenizer settings: does not affect the text of the training pairs or the vocabulary, as file names,
    # because caches are identified by the content of files. Default: another value invalidates caches.
    LEAVES_TEXT = enum.auto()
    # A fine-tuned model may differ from its base: affects training or search, not the meaning of the weights. Default:
    # the value of the base model.
    MAY_DIFFER = enum.auto()
    # Among the first settings that one looks for, so `--help` shows it. Default: only `--help-all` does.
    COMMON = enum.auto()


# Short names for use at fields.
PATH, PRIVATE, MAY_CHANGE, ENDS_RUN, LEAVES_TEXT, MAY_DIFFER, COMMON = Fact


def setting(text: str, default: Any, *facts: Rule | Fact, **flag: Any) -> Any:
    """Return a dataclass field for a setting.

    Args:
        text: description in `--help`.
        default: value if none is given; a list is copied.
        facts: at most one rule, and the facts that hold.
        flag: further arguments of `argparse.ArgumentParser.add_argument`.
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
    """Return a dataclass with the same fields for `HfArgumentParser`, which passes all their metadata to argparse."""
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
