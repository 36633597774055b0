"""What is said before there are frames: the script for `sh`, and the lines that come back."""

from __future__ import annotations

import ast
import json

from hypothesis import given
from hypothesis import strategies as st

from rshell.reach.stage import OLDEST, STAGE, Answers, script, wanted

WORD = "rshell-0123456789abcdef"


def answer(kind: str, facts: object) -> bytes:
    return f"\n{WORD} {kind} {json.dumps(facts)}\n".encode()


def test_the_stage_is_what_the_oldest_python_reads_and_a_shell_quotes() -> None:
    ast.parse(STAGE, feature_version=OLDEST)
    assert "'" not in STAGE
    text = script(WORD, "name").decode()
    assert text.startswith("{\n") and text.endswith("}\n")  # read whole before it is run
    assert text.count("'") == 4


@given(st.binary(max_size=60), st.lists(st.integers(0, 400), max_size=6))
def test_answers_are_found_among_anything_at_every_cut(banner: bytes, cuts: list[int]) -> None:
    frames = b"\0\0\0\x10first frames\n"
    data = banner + answer("ready", {"there": True}) + answer("serving", {"pid": 7}) + frames
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    answers, found = Answers(WORD), []
    for index, start in enumerate(places[:-1]):
        end = places[index + 1]
        said = answers.feed(data[start:end])
        while said is not None:
            found.append(said)
            said = answers.feed(b"") if said[0] != "serving" else None
        if found and found[-1][0] == "serving":
            rest = answers.rest + data[end:]
            break
    assert found == [("ready", {"there": True}), ("serving", {"pid": 7})]
    assert rest == frames


def test_what_came_instead_of_an_answer_is_kept_to_be_shown() -> None:
    answers = Answers(WORD)
    assert answers.feed(b"Welcome to web\nLast login: never\n") is None
    assert answers.feed(f"\n{WORD} ready".encode()) is None
    assert b"Welcome to web" in answers.rest
    assert answers.feed(b" no json\n") == ("ready", {})


def test_what_is_wanted_is_one_line() -> None:
    line = wanted({"do": "serve"}, 12)
    assert line.count(b"\n") == 1 and json.loads(line) == {"do": "serve", "size": 12}
