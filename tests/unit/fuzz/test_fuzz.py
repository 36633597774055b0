"""A short run of `python -m tests.fuzz`, without its search: the corpus, and inputs from seeds."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from rshell.protocol.login import SessionAttached
from tests.fuzz.link import KINDS, mutate
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
_MUTATIONS = 8  # of each file
_INPUTS = 3000


def test_the_corpus_and_mutations_of_it_break_nothing() -> None:
    paths = sorted(CORPUS.glob("*/*"))
    assert {path.parent.name for path in paths} <= TARGETS.keys()
    for path in paths:
        data = path.read_bytes()
        for seed in range(_MUTATIONS):
            changed = mutate(random.Random(seed), data) if seed else data
            try:
                TARGETS[path.parent.name](changed)
            except BaseException:
                print(f"{path}, mutation {seed}: {changed!r}")
                raise


def test_hostile_bytes_have_documented_outcomes_and_bounded_cost() -> None:
    outcomes: Counter[str] = Counter()
    for number in range(_INPUTS):
        kind = KINDS[number % len(KINDS)]
        try:
            kind(random.Random(number), outcomes)
        except BaseException:
            print(f"{kind.__name__}, seed {number}")
            raise
    # The fuzzer must get deep, or it proves nothing.
    reached = {
        *("LoggedIn", "LoginFailed", "AttachRequested", SessionAttached.__name__),
        *("ChannelRequested", "ChannelOpened", "DataReceived", "EofReceived"),
        *("MessageReceived", "ChannelClosed", "LinkClosed", "LinkLost", "SessionClosed"),
        *("VersionMismatch", "AuthenticationFailed"),
        *(
            f"RemoteProtocolError-{code}"
            for code in (
                *("protocol", "frame-too-long", "unknown-type", "window-overrun"),
                *("sequence", "flood"),
            )
        ),
    }
    assert reached <= set(outcomes), reached - set(outcomes)


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_takes_no_bytes_and_random_bytes(name: str) -> None:
    for seed in range(20):
        TARGETS[name](random.Random(seed).randbytes(seed * 7))
