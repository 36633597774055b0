"""Words as real shells read them."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from rshell.channels.shell.completion import find_word, quote_candidate

# A newline is written as only some shells read it.
NAMES = st.text(
    st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1, max_size=30
)
QUOTES = st.sampled_from(["", "'", '"'])


@given(st.lists(st.tuples(NAMES, QUOTES), min_size=1, max_size=20))
@settings(max_examples=60)
def test_a_candidate_is_read_back_by_a_shell_as_the_same_name(names: list[tuple[str, str]]) -> None:
    arguments = " ".join(quote_candidate(name, quote) + quote for name, quote in names)
    script = f"printf '%s\\0' {arguments}\n".encode()
    done = subprocess.run(["/bin/sh"], input=script, stdout=subprocess.PIPE, check=True, timeout=30)
    assert done.stdout == b"".join(name.encode() + b"\0" for name, _ in names)


@given(NAMES.filter(lambda name: "`" not in name), QUOTES)
def test_a_candidate_is_one_word_when_it_is_completed_further(name: str, quote: str) -> None:
    found = find_word("cat " + quote_candidate(name, quote))
    assert found.words == ("cat", name)
    assert (found.start, found.quote) == (4, quote)
