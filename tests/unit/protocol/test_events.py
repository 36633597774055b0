from __future__ import annotations

import typing

import pytest

from rshell.errors import LinkLost
from rshell.protocol import events
from rshell.protocol.events import Event, LinkClosed


def event_classes() -> list[type]:
    return [
        each
        for each in vars(events).values()
        if isinstance(each, type) and issubclass(each, tuple) and each.__module__ == events.__name__
    ]


def test_the_union_names_every_event_so_that_match_statements_are_checked() -> None:
    assert set(typing.get_args(Event)) == set(event_classes())


def test_events_are_frozen() -> None:
    event = LinkClosed(LinkLost("cut"))
    with pytest.raises(AttributeError):
        event.cause = LinkLost("other")  # type: ignore[misc]


def test_every_event_says_what_it_means() -> None:
    for each in event_classes():
        assert (each.__doc__ or "").endswith(".")
