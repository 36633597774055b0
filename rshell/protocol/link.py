"""One byte stream, from its first byte to its last: bytes in, events and bytes out.

Strategy: `receive_data` decodes, moves the handshake, and hands channel frames to the session.
A peer that breaks a rule never makes us raise: the link queues a GOODBYE and yields LinkClosed
with the cause. Misuse by our own code raises LocalProtocolError at once. Whoever drives a link
takes `data_to_send` after every call that may have queued something.

Hazard: one `receive_data` may return an event that asks for an answer and, behind it, the
LinkClosed that makes the answer useless. So every call on a link that is over does nothing.

Hazard: a session resumes while its old link is not yet known to be dead. From the moment that
a new link claims the session, the old one neither takes frames out of it nor puts any in.

Hazard: EOF proves nothing. Over TLS a clean end, a cut and a kill look alike, so an EOF without
a GOODBYE before it is always LinkLost, and no channel is ever ended by it.
"""

from __future__ import annotations

from rshell.errors import (
    LinkLost,
    LocalProtocolError,
    RemoteProtocolError,
    ResumeFailed,
    RshellError,
    SessionClosed,
)
from rshell.protocol.events import (
    AttachRequested,
    AuthReceived,
    Event,
    HelloReceived,
    LinkClosed,
    SessionAttached,
)
from rshell.protocol.farewell import error_from_goodbye, version_mismatch
from rshell.protocol.frames import (
    FIRST_CHANNEL_TYPE,
    FIRST_SKIPPED_TYPE,
    KNOWN_TYPES,
    Frame,
    FrameDecoder,
    FrameType,
    encode_frame,
)
from rshell.protocol.handshake import Handshake, Party, Stage
from rshell.protocol.liveness import Bucket, Liveness
from rshell.protocol.messages import (
    Attach,
    Attached,
    Auth,
    Goodbye,
    Hello,
    decode_number,
    encode_number,
)
from rshell.protocol.replay import Buffer
from rshell.protocol.session import Role, Session
from rshell.values import Bounds

VERSIONS = (1, 1)
IMPLEMENTATION = "rshell"


class Link:
    """One end of one byte stream.

    `mechanisms` are the logins that a server offers. `now` is the present time in seconds of
    the clock that all later calls use. `closed` is the cause once the link is over. `is_proved`
    says that the peer has sent something since ATTACHED, so it has the session's new secret.
    """

    def __init__(
        self,
        role: Role,
        limits: Bounds,
        now: float,
        *,
        mechanisms: tuple[str, ...] = (),
        versions: tuple[int, int] = VERSIONS,
    ) -> None:
        self.role = role
        self.limits = limits
        self.session: Session | None = None
        self.identity = ""
        self.peer: Hello | None = None
        self.closed: RshellError | None = None
        self._versions = versions
        self._handshake = Handshake(Party.CLIENT if role is Role.CLIENT else Party.SERVER)
        self._decoder = FrameDecoder(limits.frame_before_login)
        self._liveness = Liveness(limits, now)
        self._control = Bucket("control frames", limits.control_burst, limits.control_rate, now)
        self._pings = Bucket("pings", limits.ping_burst, limits.ping_rate, now)
        self._login_deadline = now + limits.login_seconds
        self._ack_due: float | None = None
        self._attach_sent = now
        self._attaching: Session | None = None
        self._claim = 0
        self.is_proved = False
        self._replies: list[bytes] = []
        self._queue(
            FrameType.HELLO,
            Hello(versions, limits.frame, IMPLEMENTATION, mechanisms).to_bytes(),
        )

    # What is said.

    @property
    def stage(self) -> Stage:
        """How far the handshake has come."""
        return self._handshake.stage

    @property
    def round_trip(self) -> float | None:
        """The smallest round trip of this link in seconds, None before the first."""
        return self._liveness.round_trip

    def authenticate(self, auth: Auth) -> None:
        """Client: send a step of the login. The first may go out before the peer's HELLO."""
        if self.closed is not None:
            return
        if not (self._handshake.stage is Stage.HELLO and auth.mechanism):
            self._handshake.act("authenticate")
        self._queue(FrameType.AUTH, auth.to_bytes())

    def challenge(self, data: str) -> None:
        """Server: answer a step of the login with the next one."""
        if self.closed is not None:
            return
        self._handshake.act("challenge")
        self._queue(FrameType.AUTH, Auth(data).to_bytes())

    def accept(self, identity: str, data: str = "") -> None:
        """Accept the login: a server tells the client, a client has checked the server's proof."""
        if self.closed is not None:
            return
        self._handshake.act("accept")
        self.identity = identity
        if self.role is Role.SERVER:
            self._queue(FrameType.AUTH, Auth(data, done=True, identity=identity).to_bytes())

    def attach(self, session: Session, attach: Attach, now: float) -> None:
        """Client: ask that this link carry `session`, new or resumed as `attach` says."""
        if self.closed is not None:
            return
        self._handshake.act("attach")
        self._attaching = session
        self._take_over(session)
        self._attach_sent = now
        self._queue(FrameType.ATTACH, attach.to_bytes())

    def accept_attach(self, session: Session, attach: Attach, now: float) -> list[Event]:
        """Server: grant what `attach` asked for; `session` has its id and a fresh secret.

        Where the two sides' counts don't fit, the link says GOODBYE and LinkClosed comes back.
        """
        if self.closed is not None:
            return []
        self._handshake.act("accept-attach")
        try:
            session.replay.rewind(attach.resume.received if attach.resume else 0, now)
        except (RemoteProtocolError, ResumeFailed) as error:
            return self._fail(error)
        self._take_over(session)
        body = Attached(session.id, session.secret, session.received).to_bytes()
        self._queue(FrameType.ATTACHED, body)
        self._carry(session)
        self.ping(now)  # the first measure of the round trip
        return [SessionAttached(session.id)]

    def ping(self, now: float) -> None:
        """Ask the peer for a sign of life."""
        if self.closed is not None:
            return
        self._queue(FrameType.PING, encode_number("id", self._liveness.ping(now)))

    def goodbye(self, code: str, reason: str) -> None:
        """End the link; the peer is told why. Harmless when it is over."""
        if self.closed is None:
            self._say_goodbye(Goodbye(code, reason))
            self.closed = SessionClosed(code, reason, by="local")

    # What goes out.

    def data_to_send(self, room: int) -> list[Buffer]:
        """Return buffers to write, in order: about `room` bytes of bulk data at most."""
        out: list[Buffer] = []
        if self._replies:
            out.append(b"".join(self._replies))
            self._replies.clear()
        session = self._carried_session()
        if session is not None and session.has_output():
            session.collect(out, room)
        return out

    def has_output(self) -> bool:
        """Whether `data_to_send` might return anything."""
        session = self._carried_session()
        return bool(self._replies) or (session is not None and session.has_output())

    def _carried_session(self) -> Session | None:
        """Return the session if this link may still take frames out of it."""
        if self.closed is not None or self.session is None or self._is_superseded:
            return None
        return self.session

    # What comes in.

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> list[Event]:
        """Take bytes from the peer, cut anywhere, and return what they mean."""
        events: list[Event] = []
        if self.closed is not None:
            return events
        if self._is_superseded:
            return self._lose("the session went on over another link")
        self._liveness.heard(now)
        try:
            for frame in self._decoder.feed(data):
                events += self._receive(frame, now)
                if self.closed is not None:
                    return events
            self._acknowledge(now)
        except RemoteProtocolError as error:
            events += self._fail(error)
        return events

    def receive_eof(self) -> list[Event]:
        """Take the end of the byte stream."""
        if self.closed is not None:
            return []
        if self._decoder.is_inside_frame:
            reason = "the link was cut in the middle of a frame"
        elif self.session is None:
            reason = "the other side closed the link before login ended"
        else:
            reason = "the link was cut"
        return self._lose(reason)

    def _receive(self, frame: Frame, now: float) -> list[Event]:
        number = frame.type
        if number in KNOWN_TYPES:
            if (frame.channel == 0) is not (number < FIRST_CHANNEL_TYPE):
                name = KNOWN_TYPES[number].name
                raise RemoteProtocolError(f"{name} with the channel number {frame.channel}")
        elif number < FIRST_SKIPPED_TYPE:
            raise RemoteProtocolError(f"a frame of the unknown type {number}", code="unknown-type")
        self.is_proved = self._handshake.is_attached
        self._handshake.receive(number)
        if frame.is_sequenced:
            assert self.session is not None
            if number != FrameType.DATA:
                self._control.take(now)
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
            self._receive_ack(body, now)
        elif number == FrameType.PING:
            self._pings.take(now)
            ping_id = decode_number("PING", "id", body, 0)
            if len(self._replies) >= self.limits.queued_replies:
                raise RemoteProtocolError("answers are asked for and not taken", code="flood")
            self._queue(FrameType.PONG, encode_number("id", ping_id))
        elif number == FrameType.PONG:
            self._pings.take(now)
            self._liveness.pong(decode_number("PONG", "id", body, 0), now)
            self._share_round_trip()
        elif number == FrameType.HELLO:
            return self._receive_hello(Hello.from_bytes(body))
        elif number == FrameType.AUTH:
            return [AuthReceived(Auth.from_bytes(body))]
        elif number == FrameType.ATTACH:
            return [AttachRequested(Attach.from_bytes(body))]
        elif number == FrameType.ATTACHED:
            return self._receive_attached(Attached.from_bytes(body), now)
        elif number == FrameType.GOODBYE:
            return self._receive_goodbye(Goodbye.from_bytes(body))
        else:
            self._control.take(now)  # of a later version, and marked as safe to skip
        return []

    def _receive_ack(self, body: bytes, now: float) -> None:
        assert self.session is not None
        self._control.take(now)
        received = decode_number("ACK", "received", body, 0)
        self.session.replay.acknowledge(received, now, self.round_trip)

    def _receive_hello(self, hello: Hello) -> list[Event]:
        lowest = max(self._versions[0], hello.versions[0])
        highest = min(self._versions[1], hello.versions[1])
        if lowest > highest:
            self.closed = version_mismatch(self._versions, hello.versions)
            self._say_goodbye(Goodbye("version", str(self.closed), self._versions))
            return [LinkClosed(self.closed)]
        self.peer = hello
        return [HelloReceived(hello, highest)]

    def _receive_attached(self, attached: Attached, now: float) -> list[Event]:
        session = self._attaching
        assert session is not None
        if session.id and session.id != attached.session:
            raise RemoteProtocolError("ATTACHED names another session than ATTACH")
        self._liveness.sample(now - self._attach_sent)
        try:
            session.replay.rewind(attached.received, now)
        except ResumeFailed as error:
            return self._fail(error)
        session.id, session.secret = attached.session, attached.secret
        self._carry(session)
        return [SessionAttached(session.id)]

    def _receive_goodbye(self, goodbye: Goodbye) -> list[Event]:
        self.closed = error_from_goodbye(goodbye, self._versions)
        return [LinkClosed(self.closed)]

    # Time.

    def next_deadline(self) -> float | None:
        """Return when `tick` should be called next, in the clock of `now`; None when over."""
        if self.closed is not None:
            return None
        if not self._handshake.is_attached:
            return self._login_deadline if self.role is Role.SERVER else None
        deadline = self._liveness.deadline()
        return deadline if self._ack_due is None else min(deadline, self._ack_due)

    def tick(self, now: float) -> list[Event]:
        """Do what time asks for: acknowledge, PING, or give up."""
        if self.closed is not None:
            return []
        if not self._handshake.is_attached:
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
        if self._ack_due is not None and now >= self._ack_due:
            self._send_ack()
        if self._liveness.is_ping_due(now):
            self.ping(now)
        return []

    def _acknowledge(self, now: float) -> None:
        """Send ACK when enough has arrived; else see that one follows within a second."""
        session = self.session
        if session is None or not session.unacknowledged:
            return
        if session.unacknowledged >= self.limits.ack_bytes:
            self._send_ack()
        elif self._ack_due is None:
            self._ack_due = now + self.limits.ack_seconds

    def _send_ack(self) -> None:
        assert self.session is not None
        self._ack_due = None
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
        self.closed = LinkLost(reason, silent=silent)
        return [LinkClosed(self.closed)]

    def _carry(self, session: Session) -> None:
        assert self.peer is not None
        self.session = session
        session.peer_frame = min(self.peer.frame, self.limits.frame)
        session.unacknowledged = 0
        self._share_round_trip()
        self._decoder.limit = self.limits.frame

    def _share_round_trip(self) -> None:
        if self.session is not None:
            self.session.round_trip = self._liveness.round_trip

    def _queue(self, frame_type: FrameType, body: bytes) -> None:
        if self.closed is not None:
            raise LocalProtocolError(f"{frame_type.name} on a link that is over")
        self._replies.append(encode_frame(frame_type, 0, body))

    def _say_goodbye(self, goodbye: Goodbye) -> None:
        self._replies.append(encode_frame(FrameType.GOODBYE, 0, goodbye.to_bytes()))

    def _fail(self, error: RemoteProtocolError | ResumeFailed) -> list[Event]:
        self._say_goodbye(Goodbye(error.code, str(error)))
        self.closed = error
        return [LinkClosed(error)]
