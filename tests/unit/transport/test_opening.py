"""Opening something: by await, by async with, and what closes it."""

from __future__ import annotations

import pytest

from rshell.transport.opening import Opening


class Door:
    def __init__(self) -> None:
        self.closed_with: list[type[BaseException] | None] = []

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: object, traceback: object
    ) -> None:
        self.closed_with.append(exc_type)


async def test_awaiting_opens_and_closes_nothing() -> None:
    door = Door()

    async def start() -> Door:
        return door

    assert await Opening(start) is door
    assert door.closed_with == []


async def test_entering_opens_and_leaving_closes_once() -> None:
    door = Door()

    async def start() -> Door:
        return door

    async with Opening(start) as opened:
        assert opened is door
        assert door.closed_with == []
    assert door.closed_with == [None]


async def test_leaving_by_an_exception_tells_which_and_lets_it_through() -> None:
    door = Door()

    async def start() -> Door:
        return door

    with pytest.raises(KeyError):
        async with Opening(start):
            raise KeyError
    assert door.closed_with == [KeyError]


async def test_what_failed_to_open_is_not_closed() -> None:
    async def start() -> Door:
        raise OSError("locked")

    with pytest.raises(OSError, match="locked"):
        async with Opening(start):
            pytest.fail("it is not open")


async def test_nothing_starts_before_it_is_awaited() -> None:
    started = []

    async def start() -> Door:
        started.append(True)
        return Door()

    opening = Opening(start)
    assert not started
    await opening
    assert started
