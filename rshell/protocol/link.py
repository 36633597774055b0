"""One byte stream, from its first byte to its last: bytes in, events and bytes out.

`receive_data` decodes, moves the handshake, steps the login, and hands channel frames to the
session. A peer that breaks a rule never makes us raise: the link queues a GOODBYE and yields
LinkClosed with the cause. Misuse by our own code raises LocalProtocolError at once. The driver of
a link takes `data_to_send` after every call that may have queued something.

Hazard: one `receive_data` may return an event that asks for an answer and, behind it, the
LinkClosed that makes the answer useless. Every call on a link that is over therefore does nothing.

Hazard: a session resumes while its old link is not yet known to be dead. From the moment that
a new link claims the session, the old one neither takes frames out of it nor puts any in.

Hazard: EOF proves nothing. Over TLS a clean end, a cut and a kill look alike, and an EOF without
a GOODBYE before it is always LinkLost. No channel is ever ended by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Union

from rshell.errors import (
    AuthenticationFailed,
    LinkLost,
    RemoteProtocolError,
    RshellError,
    SessionClosed,
)
from rshell.protocol.channel import ChannelEvent
from rshell.protocol.flow import AckClock, Bucket, Liveness
from rshell.protocol.frames import (
    Buffer,
    Frame,
    FrameDecoder,
    FrameTrace,
    FrameType,
    encode_frame,
)
from rshell.protocol.login import (
    REFUSALS,
    VERSIONS,
    AttachRequested,
    ClientLogin,
    Handshake,
    LinkClosed,
    LinkEvent,
    LoggedIn,
    LoginFailed,
    ServerLogin,
    SessionAttached,
    Stage,
    Versions,
    error_from_goodbye,
    error_from_loss,
    goodbye_from_error,
)
from rshell.protocol.messages import (
    Attach,
    Attached,
    Auth,
    Goodbye,
    Hello,
    decode_number,
    encode_number,
)
from rshell.protocol.session import Role, Session
from rshell.values import Bounds

Event = Union[LinkEvent, ChannelEvent]


class Link:
    """One end of one byte stream.

    A server is given its `login`; a client begins its own by `log_in`. `now` is the present time
    in seconds of the clock that all later calls use. `handshake` says how far the link has come,
    and what the peer is. `error` says why the link is over. `is_proved` says that the peer has
    sent something since ATTACHED, which shows that it has the session's new secret. `trace`, where
    it is set, is shown every frame.
    """

    def __init__(
        self,
        role: Role,
        limits: Bounds,
        now: float,
        *,
        login: ServerLogin | None = None,
        versions: Versions = VERSIONS,
    ) -> None:
        self.role = role
        self.limits = limits
        self.handshake = Handshake(role, versions, login)
        self.session: Session | None = None
        self.is_proved = False
        self.error: RshellError | None = None
        self.trace: FrameTrace | None = None
        self._decoder = FrameDecoder(limits.frame_before_login)
        self._liveness = Liveness(limits, now)
        self._control = Bucket("control frames", limits.control_burst, limits.control_rate, now)
        self._pings = Bucket("pings", limits.ping_burst, limits.ping_rate, now)
        self._login_deadline = now + limits.login_seconds
        self._acks = AckClock(limits)
        self._attach_sent = now
        self._attaching: Session | None = None
        self._claim = 0
        self._replies: list[bytes] = []
        self._queue(FrameType.HELLO, self.handshake.hello(limits.frame).to_bytes())

    # What is said.

    @property
    def stage(self) -> Stage:
        """How far the handshake has come."""
        return self.handshake.stage

    @property
    def round_trip(self) -> float | None:
        """The smallest round trip of this link in seconds, None before the first."""
        return self._liveness.round_trip

    def log_in(self, login: ClientLogin) -> None:
        """Client: begin the login, also before the peer's HELLO; LoggedIn comes when it is done."""
        if self.error is not None:
            return
        self._queue(FrameType.AUTH, self.handshake.log_in(login).to_bytes())

    def attach(self, session: Session, attach: Attach, now: float) -> None:
        """Client: ask that this link carry `session`, new or resumed as `attach` says."""
        if self.error is not None:
            return
        self.handshake.act("attach")
        self._attaching = session
        self._take_over(session)
        self._attach_sent = now
        self._queue(FrameType.ATTACH, attach.to_bytes())

    def accept_attach(self, session: Session, attach: Attach, now: float) -> list[Event]:
        """Server: grant what `attach` asked for; `session` has its id and a fresh secret.

        Where the two sides' counts don't fit, the link says GOODBYE and LinkClosed comes back.
        """
        if self.error is not None:
            return []
        self.handshake.act("accept-attach")
        try:
            session.replay.rewind(attach.resume.received if attach.resume else 0, now)
        except REFUSALS as error:
            return self._fail(error)
        self._take_over(session)
        body = Attached(session.id, session.secret, session.received).to_bytes()
        self._queue(FrameType.ATTACHED, body)
        self._carry(session)
        self.ping(now)  # the first measure of the round trip
        return [SessionAttached(session.id)]

    def ping(self, now: float) -> None:
        """Ask the peer for a sign of life."""
        if self.error is not None:
            return
        self._queue(FrameType.PING, encode_number("id", self._liveness.ping(now)))

    def goodbye(self, code: str, reason: str) -> None:
        """End the link; the peer is told why. Does nothing when it is over."""
        if self.error is None:
            self._queue(FrameType.GOODBYE, Goodbye(code, reason).to_bytes())
            self.error = SessionClosed(code, reason, by="local")

    # What goes out.

    def data_to_send(self, room: int, now: float) -> list[Buffer]:
        """Return buffers to write now, in order: about `room` bytes of bulk data at most."""
        out: list[Buffer] = []
        if self._replies:
            out.append(b"".join(self._replies))
            self._replies.clear()
        session = self._carried_session()
        if session is not None and session.has_output():
            session.collect(out, room, now)
        if self.trace is not None:
            self.trace.sent(out)
        return out

    def has_output(self) -> bool:
        """Whether `data_to_send` might return anything."""
        session = self._carried_session()
        return bool(self._replies) or (session is not None and session.has_output())

    def _carried_session(self) -> Session | None:
        """Return the session if this link may still take frames out of it."""
        if self.error is not None or self.session is None or self._is_superseded:
            return None
        return self.session

    # What comes in.

    def receive_data(self, data: Buffer, now: float, *, helping: bool = False) -> list[Event]:
        """Take bytes from the peer, cut anywhere, and return what they mean.

        A `helping` is a bounded amount of work: what it leaves is then `rest`, to be given next.
        """
        events: list[Event] = []
        if self.error is not None:
            return events
        if self._is_superseded:
            return self._lose("the session went on over another link")
        self._liveness.heard(now)
        frames: Iterator[Frame] = self._decoder.feed(data, helping=helping)
        if self.trace is not None:
            frames = self.trace.received(frames)
        try:
            for frame in frames:
                events += self._receive(frame, now)
                if self.error is not None:
                    return events
            self._acknowledge(now)
        except REFUSALS as error:
            events += self._fail(error)
        return events

    @property
    def rest(self) -> Buffer:
        """What the last helping has left, a view; empty once the link is over."""
        return b"" if self.error is not None else self._decoder.rest

    def receive_eof(self) -> list[Event]:
        """Take the end of the byte stream."""
        if self.error is not None:
            return []
        if self._decoder.is_inside_frame:
            reason = "the link was cut in the middle of a frame"
        elif self.session is None:
            reason = "the other side closed the link before login ended"
        else:
            reason = "the link was cut"
        return self._lose(reason)

    def receive_lost(self, error: Exception | None) -> list[Event]:
        """Take the loss of the byte stream. `error` says why, None after an orderly end."""
        if error is None:
            return self.receive_eof()
        return [] if self.error is not None else self._end(error_from_loss(error))

    def _receive(self, frame: Frame, now: float) -> Sequence[Event]:
        frame.check()
        number = frame.type
        self.is_proved = self.handshake.is_attached
        self.handshake.receive(number)
        if frame.is_sequenced:
            assert self.session is not None
            if number != FrameType.DATA:
                self._control.count(now)
            before = self.session.queued_control
            events = self.session.receive(frame, now)
            if self.session.queued_control > max(before, self.limits.queued_replies):
                raise RemoteProtocolError("answers are asked for and not taken", code="flood")
            return events
        return self._receive_link_frame(frame, now)

    def _receive_link_frame(self, frame: Frame, now: float) -> list[Event]:
        body = bytes(frame.body)
        number = frame.type
        if number == FrameType.ACK:
            assert self.session is not None
            self._control.count(now)
            received = decode_number("ACK", "received", body, 0)
            self.session.replay.acknowledge(received, now, self.round_trip)
        elif number == FrameType.PING:
            self._pings.count(now)
            ping_id = decode_number("PING", "id", body, 0)
            if len(self._replies) >= self.limits.queued_replies:
                raise RemoteProtocolError("answers are asked for and not taken", code="flood")
            self._queue(FrameType.PONG, encode_number("id", ping_id))
        elif number == FrameType.PONG:
            self._pings.count(now)
            self._liveness.pong(decode_number("PONG", "id", body, 0), now)
            self._share_round_trip()
        elif number == FrameType.HELLO:
            self.handshake.receive_hello(Hello.from_bytes(body))
        elif number == FrameType.AUTH:
            return self._receive_auth(Auth.from_bytes(body))
        elif number == FrameType.ATTACH:
            return [AttachRequested(Attach.from_bytes(body))]
        elif number == FrameType.ATTACHED:
            return self._receive_attached(Attached.from_bytes(body), now)
        elif number == FrameType.GOODBYE:
            return self._end(error_from_goodbye(Goodbye.from_bytes(body), self.handshake.versions))
        else:
            self._control.count(now)  # of a later version, and marked as safe to skip
        return []

    def _receive_auth(self, auth: Auth) -> list[Event]:
        answer = self.handshake.receive_auth(auth)
        if answer is not None:
            self._queue(FrameType.AUTH, answer.to_bytes())
        return [] if self.stage is Stage.AUTH else [LoggedIn(self.handshake.identity)]

    def _receive_attached(self, attached: Attached, now: float) -> list[Event]:
        session = self._attaching
        assert session is not None
        if session.id and session.id != attached.session:
            raise RemoteProtocolError("ATTACHED names another session than ATTACH")
        self._liveness.sample(now - self._attach_sent)
        session.replay.rewind(attached.received, now)
        session.id, session.secret = attached.session, attached.secret
        self._carry(session)
        return [SessionAttached(session.id)]

    # Time.

    def next_deadline(self) -> float | None:
        """Return when `tick` should be called next, in the clock of `now`; None when over."""
        if self.error is not None:
            return None
        if not self.handshake.is_attached:
            return self._login_deadline if self.role is Role.SERVER else None
        deadline = self._liveness.deadline()
        return deadline if self._acks.due is None else min(deadline, self._acks.due)

    def tick(self, now: float) -> list[Event]:
        """Do what time asks for: acknowledge, PING, or give up."""
        if self.error is not None:
            return []
        if not self.handshake.is_attached:
            if self.role is Role.SERVER and now >= self._login_deadline:
                seconds = self.limits.login_seconds
                error = RemoteProtocolError(f"no login within {seconds:g} s", code="login-timeout")
                return self._fail(error)
            return []
        if self._is_superseded:
            return self._lose("the session went on over another link")
        if self._liveness.is_dead(now):
            silence = f"nothing was heard for {self._liveness.silence(now):.0f} s"
            return self._lose(silence, silent=True)
        if self._acks.due is not None and now >= self._acks.due:
            self._send_ack()
        if self._liveness.is_ping_due(now):
            self.ping(now)
        return []

    def _acknowledge(self, now: float) -> None:
        session = self.session
        if session is not None and self._acks.is_due(
            session.unacknowledged, now, is_inside_frame=self._decoder.is_inside_frame
        ):
            self._send_ack()

    def _send_ack(self) -> None:
        assert self.session is not None
        self._acks.due = None
        self.session.unacknowledged = 0
        self._queue(FrameType.ACK, encode_number("received", self.session.received))

    # Shared pieces.

    @property
    def _is_superseded(self) -> bool:
        return self.session is not None and self.session.claims != self._claim

    def _take_over(self, session: Session) -> None:
        session.claims += 1
        self._claim = session.claims

    def _lose(self, reason: str, *, silent: bool = False) -> list[Event]:
        return self._end(LinkLost(reason, silent=silent))

    def _fail(self, error: RshellError) -> list[Event]:
        """End the link for one of REFUSALS, and tell the peer."""
        self._queue(
            FrameType.GOODBYE, goodbye_from_error(error, self.handshake.versions).to_bytes()
        )
        events = self._end(error)
        if self.role is Role.SERVER and isinstance(error, AuthenticationFailed):
            events.insert(0, LoginFailed(str(error.__cause__ or error)))
        return events

    def _end(self, error: RshellError) -> list[Event]:
        self.error = error
        return [LinkClosed(error)]

    def _carry(self, session: Session) -> None:
        assert self.handshake.peer is not None
        self.session = session
        session.peer_frame = min(self.handshake.peer.frame, self.limits.frame)
        session.unacknowledged = 0
        self._share_round_trip()
        self._decoder.limit = self.limits.frame

    def _share_round_trip(self) -> None:
        if self.session is not None:
            self.session.round_trip = self._liveness.round_trip

    def _queue(self, frame_type: FrameType, body: bytes) -> None:
        self._replies.append(encode_frame(frame_type, 0, body))
