"""A session in use: hands its events to channels, and channels to their handlers.

A session lives longer than a link. Channels hold on to this object, and the driver of the present
link comes and goes beneath it (`attach`, `detach`). Each channel that the peer opens gets a task,
which this object owns; ending the session cancels them, and `join` waits for them.

Hazard: an exception in a handler is a bug in the handler, not in the session. It ends that one
channel, is logged with its traceback, and nobody else notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rshell.aio import Changes, require_loop, start_task, was_cancelled
from rshell.errors import ChannelError, LinkLost, RshellError, SessionClosed, caused_by
from rshell.protocol.channel import ChannelClosed, ChannelEvent, ChannelRequested, ChannelState
from rshell.protocol.codec import Json
from rshell.protocol.session import Session
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver

Serve = Callable[[Channel], Awaitable[None]]


class LiveSession:
    """One end of a session, for coroutines.

    `serve` is run for each channel that the peer opens. `error` says why the session is over.
    `driver` is that of the link which carries it now, None between two links; `lost` says then why,
    and `on_lost` was called with the driver that it had. `on_attached` is called before the new
    link sends a frame. `changes` tells of all that. `loop` is the event loop in which alone it may
    be used.
    """

    def __init__(self, session: Session, serve: Serve) -> None:
        self.session = session
        self.driver: Driver | None = None
        self.lost: LinkLost | None = None
        self.error: RshellError | None = None
        self.on_lost: Callable[[Driver], None] = lambda driver: None
        self.on_attached: Callable[[], None] = lambda: None
        self.on_ended: Callable[[], None] = lambda: None
        self.changes = Changes()
        self._serve = serve
        self._channels: dict[int, Channel] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.loop = asyncio.get_running_loop()

    # What channels need.

    def flush(self) -> None:
        """Let the link, if there is one, write what is queued."""
        if self.driver is not None:
            self.driver.flush()

    def now(self) -> float:
        """The clock of the link, in seconds."""
        return self.loop.time()

    def check_loop(self) -> None:
        """Raise RuntimeError in another event loop than the session's."""
        require_loop(self.loop, "this session")

    def forget(self, channel: Channel) -> None:
        """Send the channel no more events."""
        self._channels.pop(channel.number, None)

    @property
    def is_settled(self) -> bool:
        """Whether there is a link, and the peer has said that all that was sent has arrived."""
        session = self.session
        is_acknowledged = session.replay.first == session.replay.next
        return self.driver is not None and is_acknowledged and not session.has_output()

    # What users need.

    def open_channel(self, kind: str, request: Json) -> Channel:
        """Ask for a channel; await `Channel.wait_opened` for the answer."""
        self.check_loop()
        if self.error is not None:
            raise self.error
        state = self.session.open(kind, request)
        channel = self._channels[state.number] = Channel(self, state, request)
        self.flush()
        return channel

    async def wait_ended(self) -> None:
        """Wait until the session is over. Safe to cancel."""
        while self.error is None:
            await self.changes.wait()

    # What the owners of links call.

    def attach(self, driver: Driver) -> None:
        """Have the link of `driver` carry the session from now on."""
        self.driver = driver
        self.lost = None
        driver.live = self
        self.on_attached()
        self.changes.notify()

    def detach(self, cause: LinkLost) -> None:
        """Lose the link that carries the session, and wait for the next one."""
        driver, self.driver = self.driver, None
        self.lost = cause
        self.changes.notify()
        if driver is not None:
            self.on_lost(driver)

    def end(self, error: RshellError) -> None:
        """End the session and all its channels. The first call counts."""
        if self.error is not None:
            return
        self.error = error
        self.driver = None
        for channel in list(self._channels.values()):
            self._end_channel(channel, error)
        for task in self._tasks.values():
            # Also those whose channel is forgotten; once only, or it would break into cleaning up.
            if not was_cancelled(task):
                task.cancel()
        self.on_ended()
        self.changes.notify()
        self.on_lost = _ignore  # its owner holds this session

    async def join(self) -> None:
        """Wait until every handler has returned; `end` comes first."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    # What the driver calls.

    def handle(self, event: ChannelEvent) -> None:
        """Act on an event of a channel."""
        if self.error is not None:
            return  # decoded together with what ended the session
        if isinstance(event, ChannelRequested):
            self._start(event.channel, event.request)
            return
        channel = self._channels.get(event.channel.number)
        if channel is None:
            return  # its user has let go of it
        if isinstance(event, ChannelClosed):
            self._end_channel(channel, event.cause)
            return
        try:
            channel._receive(event)
        except Exception as error:
            _log_failure(channel)
            channel.reset("failed", f"what arrived was not understood: {type(error).__name__}")
            self._cancel(channel)

    def has_room(self, state: ChannelState) -> None:
        """Tell a channel that asked for room that it has it."""
        channel = self._channels.get(state.number)
        if channel is not None:
            channel._has_room()

    # Handlers.

    def _start(self, state: ChannelState, request: Json) -> None:
        channel = self._channels[state.number] = Channel(self, state, request)
        task = self._tasks[state.number] = start_task(self.loop, self._run(channel))
        # Not in `_run` itself, which never begins if the peer gives up at once.
        task.add_done_callback(lambda _: self._tasks.pop(state.number))

    async def _run(self, channel: Channel) -> None:
        try:
            await self._serve(channel)
        except asyncio.CancelledError:
            channel.reset("cancelled", "the server stopped serving this channel")
            raise
        except ChannelError as error:
            if not channel.is_over:  # else the peer gave the channel up, which is its right
                channel.reset("failed", f"the server failed: {type(error).__name__}: {error}")
        except Exception as error:
            _log_failure(channel)
            channel.reset("failed", f"the server failed: {type(error).__name__}")
        else:
            if not channel.is_answered:
                channel.reset("failed", "the server did not answer")
            channel.close()
        finally:
            self.forget(channel)

    def _end_channel(self, channel: Channel, cause: RshellError | None) -> None:
        self.forget(channel)
        channel._end(cause)
        self._cancel(channel)

    def _cancel(self, channel: Channel) -> None:
        task = self._tasks.get(channel.number)
        if task is not None:
            task.cancel()


def _ignore(driver: Driver) -> None:
    """Take the loss of a link for nobody."""


def _log_failure(channel: Channel) -> None:
    import logging

    logging.getLogger("rshell").exception("the handler of a %r channel", channel.kind)


def as_session_error(error: RshellError) -> RshellError:
    """Return what users of a session should see when its link ends with `error`."""
    if isinstance(error, SessionClosed):
        return error
    code = getattr(error, "code", "failed")
    return caused_by(error, SessionClosed(code, str(error), by="local"))
