"""What is said of a server that does not answer, and when it is taken back."""

from __future__ import annotations

from typing import cast

from rshell.cli.answers import AnswerWatch
from rshell.client.client import Client
from tests.support.links import Links
from tests.support.session import until

SILENCE = "no answer from the server; what was sent to it waits (here)"


async def test_silence_is_told_once_where_something_waits_and_taken_back() -> None:
    client, said = Links(answer_seconds=0.01), list[str]()
    watch = AnswerWatch(cast(Client, client), said.append, way_out=" (here)")
    client.is_answered = False
    await until(lambda: said == [SILENCE])
    client.heard_at = 1.0
    await until(lambda: said == [SILENCE, "the server answers again"])
    await until(lambda: said[2:] == [SILENCE])  # it said something else
    watch.begin_anew()
    await until(lambda: said[3:] == [SILENCE])
    client.is_answered = True
    await until(lambda: said[4:] == ["the server answers again"])
    watch.stop()


async def test_nothing_is_told_where_nothing_waits_or_nobody_wants_to_know() -> None:
    client, said = Links(answer_seconds=0.005), list[str]()
    watches = [
        AnswerWatch(cast(Client, client), said.append),
        AnswerWatch(cast(Client, client), said.append, is_wanted=lambda: False),
    ]
    for is_answered, is_up, is_closed in (
        (True, True, False),
        (False, False, False),  # which is told elsewhere
        (False, True, True),
    ):
        client.is_answered, client.is_up, client.is_closed = is_answered, is_up, is_closed
        await long_enough()
        assert said == []
    for watch in watches:
        watch.stop()


async def long_enough() -> None:
    """Wait until another watch, twice as patient, has seen silence."""
    client, said = Links(answer_seconds=0.01), list[str]()
    client.is_answered = False
    watch = AnswerWatch(cast(Client, client), said.append)
    await until(lambda: said != [])
    watch.stop()
