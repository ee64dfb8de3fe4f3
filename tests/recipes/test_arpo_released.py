"""ARPO as released: the same in everything but the rule by which it branches."""

from __future__ import annotations


def test_it_branches_by_the_released_codes_rule_and_is_arpo_otherwise(read_recipe):
    arpo, released = read_recipe("arpo"), read_recipe("arpo_released")
    assert released["stages"][0]["rollout"].pop("compat") == "released"
    for recipe in (arpo, released):
        del recipe["description"]
    assert released == arpo
