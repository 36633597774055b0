"""The tables of what can't both hold; command lines that they refuse are in test_options.py."""

from __future__ import annotations

from rshell.cli.usage import _NEVER, _WORDS, LONG, SHORT, SHORTER, find_conflict


def test_the_table_of_conflicts_names_options_that_there_are_and_is_walked_whole() -> None:
    """Each pair is refused whichever of the two comes first, and names both."""
    known = {f"-{letter}" for letter in SHORT.replace(":", "")}
    known |= {f"--{name.rstrip('=')}" for name in LONG} - set(SHORTER)
    assert set(SHORTER.values()) <= known
    for options, unfit, advice in _NEVER:
        assert advice
        for option in options:
            assert {option, *unfit} <= known | set(_WORDS), option
            for other in unfit:
                # What one of them needs, or an exclusion, may be found before.
                for given in ({option: "x", other: "y"}, {other: "y", option: "x"}):
                    assert find_conflict(given), given
    assert find_conflict({"-c": "x", "CMD": "x", "-v": "", "--json": ""}) == ""
