"""Test the facts declared at the fields of settings, and their defaults."""

import dataclasses
from dataclasses import dataclass
from typing import get_type_hints

from transformers import HfArgumentParser

from sineformer.training.checkpoints.resume import _changes
from sineformer.training.settings.arguments import CONCERNS, keys_with, rules
from sineformer.training.settings.facts import AT_LEAST_ONE, Fact, Rule, facts_of, setting, without_facts


def test_every_number_has_a_rule() -> None:
    types = {key: hint for concern in CONCERNS.values() for key, hint in get_type_hints(concern).items()}
    numbers = {key for key, hint in types.items() if {int, float} & {hint, *getattr(hint, "__args__", ())}}
    assert {"seed", "max_minutes", "dropout", "patience"} <= numbers
    assert numbers - rules().keys() == set()


def test_a_setting_has_at_most_one_rule_and_its_default_satisfies_it() -> None:
    for key in (key for concern in CONCERNS.values() for key in dataclasses.fields(concern)):
        found = [fact for fact in facts_of(key) if isinstance(fact, Rule)]
        assert len(found) <= 1, key.name
        assert all(rule.holds(key.default) for rule in found if key.default is not None), key.name


@dataclass
class Unmarked:
    size: int = setting("A size.", 3)
    names: list[str] = setting("Names.", ["a"])  # noqa: RUF009
    ruled: int | None = setting("Under a rule.", None, AT_LEAST_ONE, Fact.PRIVATE, aliases=["--alias"], nargs="?")


def test_a_setting_without_facts_must_not_change_and_affects_the_data() -> None:
    assert {fact: keys_with(fact, Unmarked) for fact in Fact} == {
        fact: ["ruled"] if fact is Fact.PRIVATE else [] for fact in Fact
    }
    assert list(_changes({"size": 3}, {"size": 4})) == ["size: was 3, is 4"]


def test_default_lists_are_not_shared() -> None:
    Unmarked().names.append("b")
    assert Unmarked().names == ["a"]


def test_argparse_receives_the_metadata_of_a_field_without_its_facts() -> None:
    (given,) = HfArgumentParser([without_facts(Unmarked)]).parse_args_into_dataclasses(["--size", "7", "--alias", "2"])
    assert dataclasses.asdict(given) == {"size": 7, "names": ["a"], "ruled": 2}


def test_facts_are_declared_only_where_they_are_used() -> None:
    assert keys_with(Fact.LEAVES_TEXT) == keys_with(Fact.LEAVES_TEXT, CONCERNS["data"], CONCERNS["tokenizer"])
    assert set(keys_with(Fact.ENDS_RUN)) <= set(keys_with(Fact.MAY_CHANGE))
    assert set(keys_with(Fact.PRIVATE)) <= set(keys_with(Fact.PATH))
