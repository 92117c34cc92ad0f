"""Read settings: a YAML recipe with flat keys, and flags that override it.

Values from file and flags are parsed one at a time by one `HfArgumentParser`, so that all problems are reported
together.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import yaml
from transformers import HfArgumentParser

from .arguments import CONCERNS, Settings, keys_with
from .facts import Fact, facts_of, without_facts

NULL = ("", "~", "null")
# Far more than a recipe needs, but still read and reported on in seconds.
LARGEST_RECIPE = 100_000  # bytes
MOST_KEYS = 1_000
NESTED = re.compile(r"(?:[\[{][^\[\]{}]*){20}")  # PyYAML takes minutes over thousands of brackets
LONGEST_PROBLEM = 1_000  # characters
HELP_COLUMNS = 80


class RecipeError(ValueError):
    """Raised with every problem of a recipe and its flags.

    Attributes:
        problems: one line each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = [_shortened(each) for each in problems]
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count} in the settings:", *(f"  - {each}" for each in self.problems)]))


def _shortened(problem: str) -> str:
    """Shorten a long message in the middle; the fix is at the end."""
    if len(problem) <= LONGEST_PROBLEM:
        return problem
    return f"{problem[: LONGEST_PROBLEM // 2]} [...] {problem[-LONGEST_PROBLEM // 2 :]}"


@dataclass
class _Entry:
    """One setting as written: its location, its key, and its values as text."""

    origin: str
    key: str
    values: list[str]


class _OneValueParser(HfArgumentParser):
    """Parse values of all settings, one at a time. Raises where argparse would exit, and fills in no defaults."""

    def __init__(self) -> None:
        super().__init__(list(map(without_facts, CONCERNS.values())), allow_abbrev=False, add_help=False)
        self.types = {key: hint for concern in CONCERNS.values() for key, hint in get_type_hints(concern).items()}

    def error(self, message: str) -> NoReturn:
        raise argparse.ArgumentTypeError(message.partition(": ")[2] or message)

    def parse_value(self, key: str, values: list[str]) -> Any:
        """Return the typed value of one setting; raise `ArgumentTypeError` or `ValueError` if it is not valid."""
        for character in "".join(values):
            if unicodedata.category(character) in ("Cc", "Cs"):
                raise ValueError(f"contains U+{ord(character):04X}, which is not text; remove it")
        is_null = len(values) == 1 and values[0].lower() in NULL
        if is_null and type(None) in getattr(self.types[key], "__args__", ()):
            return None
        if self.types[key] == list[str]:
            return [] if is_null else values
        if is_null and self.types[key] is str:
            raise ValueError("needs a value; leave the key out for its default")
        if len(values) > 1:
            raise ValueError(f"takes one value, got {len(values)}: {' '.join(values)}")
        argv = [f"--{key}={values[0]}"] if values else [f"--{key}"]
        return getattr(self.parse_args(argv), key)


@functools.cache
def _the_parser() -> _OneValueParser:
    return _OneValueParser()


def _read_recipe(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_RECIPE + 1)
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        raise RecipeError([f"--config: cannot read {path}: {error}; give a recipe in UTF-8"]) from error
    if len(raw) > LARGEST_RECIPE:
        raise RecipeError([f"--config: {path} has over {LARGEST_RECIPE:,} bytes, too large for a recipe; check it"])
    return text


def _recipe_entries(path: Path, problems: list[str]) -> Iterator[_Entry]:
    """Yield the entries of a YAML file in order; scalars stay text, so that `1e-3` and `3` get the same type check."""
    text = _read_recipe(path)
    if NESTED.search(text):
        raise RecipeError([f"{path}: recipes are flat, but this one is nested too deep to read"])
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise RecipeError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from error
    except RecursionError as error:
        raise RecipeError([f"{path}: recipes are flat, but this one is nested too deep to read"]) from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode) or len(root.value) > MOST_KEYS:
        raise RecipeError([f"{path}: a recipe is lines of 'key: value', at most {MOST_KEYS:,}"])
    for key, node in root.value:
        origin = f"{path}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            problems.append(f"{origin}: a key is one word before a colon")
        elif isinstance(node, yaml.ScalarNode):
            yield _Entry(origin, key.value, [node.value])
        elif isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            yield _Entry(origin, key.value, [item.value for item in node.value] or [""])
        else:
            problems.append(f"{origin}: {key.value}: recipes are flat: give one value or one list")


def _flag_entries(argv: Sequence[str]) -> Iterator[_Entry]:
    """Yield the entries of a command line: `--key value ...` or `--key=value`."""
    name, values = "", list[str]()
    for token in [*argv, "--"]:
        if not token.startswith("--"):
            values.append(token)
            continue
        if name or values:
            yield _flag_entry(name, values)
        name, equals, value = token.partition("=")
        values = [value] if equals else []


def _flag_entry(flag: str, values: list[str]) -> _Entry:
    """Return the entry of a flag; `--no_KEY` without a value sets the boolean KEY to false."""
    key = _key_of(flag)
    opposite = key.removeprefix("no_")
    if opposite != key and not values and _the_parser().types.get(opposite) is bool:
        return _Entry("command line", opposite, ["false"])
    return _Entry("command line", key, values)


def _key_of(flag: str) -> str:
    """Return the key that a flag sets, by its name or an alias."""
    others = {
        other: key.name
        for concern in CONCERNS.values()
        for key in dataclasses.fields(concern)
        for other in key.metadata.get("aliases", [])
    }
    return others.get(flag, flag.removeprefix("--").replace("-", "_"))


def _typed(entries: Iterable[_Entry], parser: _OneValueParser, problems: list[str]) -> dict[str, Any]:
    """Return the values of valid entries; append the errors of the others to `problems`."""
    values: dict[str, Any] = {}
    for entry in entries:
        if not entry.key:
            problems.append(f"{entry.origin}: {' '.join(entry.values)!r} does not follow a flag")
        elif entry.key not in parser.types:
            problems.append(f"{entry.origin}: unknown key {entry.key!r}{nearest(entry.key, list(parser.types))}")
        elif entry.key in values:
            problems.append(f"{entry.origin}: {entry.key} is given twice")
        else:
            try:
                values[entry.key] = parser.parse_value(entry.key, entry.values)
            except (argparse.ArgumentTypeError, ValueError) as error:
                problems.append(f"{entry.origin}: {entry.key}: {error}")
    return values


def nearest(key: str, known: list[str]) -> str:
    """Return the end of an error message that suggests the most similar known key; empty if none is similar."""
    close = difflib.get_close_matches(key.lower(), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def read_values(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a command line and its recipe, by key, and the errors in keys and types, one line each.

    Raises:
        RecipeError: the recipe cannot be read.
    """
    flags = list(_flag_entries(argv))
    configs = [entry for entry in flags if entry.key == "config"]
    if any(len(entry.values) != 1 for entry in configs) or len(configs) > 1:
        raise RecipeError(["--config: takes one recipe file"])
    problems: list[str] = []
    parser = _the_parser()
    recipes = [Path(os.path.expanduser(entry.values[0])) for entry in configs]
    from_file = _typed(itertools.chain(*(_recipe_entries(path, problems) for path in recipes)), parser, problems)
    values = from_file | _typed((entry for entry in flags if entry.key != "config"), parser, problems)
    values |= {key: _with_home(values[key]) for key in keys_with(Fact.PATH) if key in values}
    return values, problems


def settings_of(values: dict[str, Any]) -> Settings:
    """Return the settings with these values, and defaults for all others."""
    return Settings(**{name: _construct(concern, values) for name, concern in CONCERNS.items()})


def _with_home(value: Any) -> Any:
    """Return a path, or a list of paths, with `~` expanded."""
    if isinstance(value, list):
        return [_with_home(each) for each in value]
    return None if value is None else os.path.expanduser(value)


def _construct(concern: type, values: dict[str, Any]) -> Any:
    """Return a dataclass from the values that are its fields."""
    return concern(**{key.name: values[key.name] for key in dataclasses.fields(concern) if key.name in values})


def print_help(program: str, epilog: str, complete: bool) -> None:
    """Print the common settings, or all, with their types, defaults and descriptions, followed by `epilog`."""
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} [--config RECIPE.yaml] [--key value ...]",
        description="Train a translation model. Flags override the recipe; --no_KEY sets a boolean setting to false.",
        formatter_class=functools.partial(argparse.HelpFormatter, width=HELP_COLUMNS),
        add_help=False,
    )
    for name, concern in CONCERNS.items():
        keys = [key for key in dataclasses.fields(concern) if complete or Fact.COMMON in facts_of(key)]
        group = parser.add_argument_group(name, concern.__doc__ if complete else None)
        types = get_type_hints(concern)
        for key in keys:
            names = [f"--{key.name}", *key.metadata.get("aliases", [])]
            group.add_argument(*names, metavar=_help_type(types[key.name]), help=_help_text(key))
    parser.print_help()
    print(f"\n{epilog}")


def _help_type(hint: Any) -> str:
    """Return how the help shows the values of a type."""
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    if hint == list[str]:
        return "TEXT ..."
    (kind,) = [each for each in (*get_args(hint), hint) if isinstance(each, type) and each is not type(None)][:1]
    return {bool: "true|false", int: "N", float: "X", str: "TEXT"}[kind]


def _help_text(key: dataclasses.Field[Any]) -> str:
    """Return the description of a setting with its default, unless that is none or the description has it."""
    default = key.default if key.default is not dataclasses.MISSING else " ".join(key.default_factory())  # type: ignore
    text = str(key.metadata["help"])
    shown = str(default).lower() if isinstance(default, bool) else default
    return text if default in (None, "") else f"{text} (default: {shown})"
