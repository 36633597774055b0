"""Which frame may arrive when, who proves what, and what a GOODBYE means."""

from __future__ import annotations

import itertools
import re

import pytest

from rshell.errors import (
    AuthenticationFailed,
    ConfigurationError,
    LinkLost,
    LocalProtocolError,
    RemoteProtocolError,
    ResumeFailed,
    RshellError,
    SessionClosed,
    UntrustedServer,
    VersionMismatch,
)
from rshell.protocol.frames import FrameType
from rshell.protocol.link import Link
from rshell.protocol.login import (
    ACTING,
    EXTERNAL,
    RECEIVING,
    SCRAM,
    VERSIONS,
    AttachRequested,
    ClientLogin,
    Handshake,
    LinkClosed,
    LoggedIn,
    ServerLogin,
    SessionAttached,
    Stage,
    error_from_goodbye,
    error_from_loss,
    goodbye_from_error,
)
from rshell.protocol.messages import Auth, Goodbye
from rshell.protocol.scram import ScramClient, ScramError, ScramServer, Verifier
from rshell.protocol.session import Role
from rshell.values import Bounds
from tests.support.wire import (
    FIRST_AUTH,
    HELLO,
    IDENTITY,
    at_stage,
    decode_frames,
    describe,
    frame,
    new_link,
    stages,
    take,
    take_types,
)

GRANTED = {"session": "session-1", "secret": "secret-1", "received": 0}
# One valid frame of each type, and types of no version, of a later one, of both kinds.
FRAMES: dict[int, bytes] = {
    FrameType.HELLO: frame(FrameType.HELLO, 0, HELLO),
    FrameType.AUTH: frame(FrameType.AUTH, 0, FIRST_AUTH.encode()),
    FrameType.ATTACH: frame(FrameType.ATTACH),
    FrameType.ATTACHED: frame(FrameType.ATTACHED, 0, GRANTED),
    FrameType.PING: frame(FrameType.PING, 0, {"id": 1}),
    FrameType.PONG: frame(FrameType.PONG, 0, {"id": 1}),
    FrameType.ACK: frame(FrameType.ACK, 0, {"received": 0}),
    FrameType.GOODBYE: frame(FrameType.GOODBYE, 0, {"code": "done"}),
    FrameType.OPEN: frame(FrameType.OPEN, 1, {"kind": "process", "window": 1}),
    FrameType.OPENED: frame(FrameType.OPENED, 1, {"window": 1}),
    FrameType.REFUSED: frame(FrameType.REFUSED, 1, {"code": "failed"}),
    FrameType.DATA: frame(FrameType.DATA, 1, b"\0x"),
    FrameType.EOF: frame(FrameType.EOF, 1),
    FrameType.WINDOW: frame(FrameType.WINDOW, 1, {"bytes": 1}),
    FrameType.MESSAGE: frame(FrameType.MESSAGE, 1),
    FrameType.CLOSE: frame(FrameType.CLOSE, 1),
    FrameType.RESET: frame(FrameType.RESET, 1, {"code": "failed"}),
    0: frame(0),
    9: frame(9),
    25: frame(25, 1),
    127: frame(127, 1),
    128: frame(128, 5, b"\xff"),
    255: frame(255, 5, b"\xff"),
}
LAST_AUTH = frame(FrameType.AUTH, 0, {"done": True, "identity": IDENTITY})


def allowed(role: Role, stage: Stage, number: int) -> bool:
    """Say by hand, not from the table, what may arrive before a link carries a session."""
    if number == FrameType.GOODBYE:
        return stage is not Stage.CLOSED
    if role is Role.SERVER:
        return (stage, number) in {
            (Stage.HELLO, FrameType.HELLO),
            (Stage.AUTH, FrameType.AUTH),
            (Stage.ATTACH, FrameType.ATTACH),
        }
    return (stage, number) in {
        (Stage.HELLO, FrameType.HELLO),
        (Stage.AUTH, FrameType.AUTH),
        (Stage.ATTACHING, FrameType.ATTACHED),
    }


def test_before_a_session_only_the_tables_rows_pass_and_nothing_is_executed() -> None:
    for role in Role:
        for stage, number in itertools.product(stages(role), FRAMES):
            if stage not in (Stage.ATTACHED, Stage.CLOSED):
                check_before_a_session(role, stage, number)


def check_before_a_session(role: Role, stage: Stage, number: int) -> None:
    row = (role, stage, number)
    link, session = at_stage(role, stage)
    is_last_auth = role is Role.CLIENT and number == FrameType.AUTH
    events = link.receive_data(LAST_AUTH if is_last_auth else FRAMES[number], 0.0)
    if allowed(role, stage, number):
        wanted = {
            FrameType.HELLO: [],
            FrameType.AUTH: [LoggedIn],
            FrameType.ATTACH: [AttachRequested],
            FrameType.ATTACHED: [SessionAttached],
            FrameType.GOODBYE: [LinkClosed],
        }
        assert [type(event) for event in events] == wanted[FrameType(number)], row
        answers = [FrameType.AUTH] if events and role is Role.SERVER and number == 2 else []
        assert take_types(link) == answers, row
        return
    (event,) = events
    assert isinstance(event, LinkClosed), row
    assert isinstance(event.cause, RemoteProtocolError), row
    assert take_types(link) == [FrameType.GOODBYE], row
    # Nothing came of it, and nothing comes of what follows.
    assert (session.received, session.channels) == (0, {}), row
    for following in FRAMES.values():
        assert link.receive_data(following, 0.0) == [], row
    assert not link.has_output(), row
    assert link.error is event.cause, row


def test_once_attached_the_handshakes_frames_are_errors_and_the_skippable_are_skipped() -> None:
    for role, number in itertools.product(Role, FRAMES):
        row = (role, number)
        link, session = at_stage(role, Stage.ATTACHED)
        events = link.receive_data(FRAMES[number], 0.0)
        if number >= 192:
            assert (events, session.received) == ([], 1), row
        elif number >= 128:
            assert (events, session.received) == ([], 0), row
        elif number in (FrameType.PING, FrameType.PONG, FrameType.ACK):
            assert events == [], row
            answers = [FrameType.PONG] if number == FrameType.PING else []
            assert take_types(link) == answers, row
        elif number == FrameType.OPEN and role is Role.SERVER:
            assert [type(event).__name__ for event in events] == ["ChannelRequested"], row
        elif number == FrameType.GOODBYE:
            assert isinstance(link.error, SessionClosed), row
            assert take(link) == b"", row
        else:
            assert isinstance(link.error, RemoteProtocolError), row
            unknown = number not in FrameType.__members__.values()
            assert link.error.code == ("unknown-type" if unknown else "protocol"), row
            assert take_types(link) == [FrameType.GOODBYE], row


def test_after_the_end_nothing_is_heard() -> None:
    for role in Role:
        link, _ = at_stage(role, Stage.CLOSED)
        for data in FRAMES.values():
            assert link.receive_data(data, 0.0) == []
        assert link.receive_eof() == []
        assert link.tick(1e9) == []
        assert not link.has_output()


def test_a_link_frame_in_a_channel_and_a_channel_frame_in_none_are_errors() -> None:
    for number in FrameType:
        data = bytearray(FRAMES[number])
        data[5:9] = (3 if number < 16 else 0).to_bytes(4, "big")
        link, _ = at_stage(Role.SERVER, Stage.ATTACHED)
        link.receive_data(bytes(data), 0.0)
        assert isinstance(link.error, RemoteProtocolError), number
        assert "channel number" in str(link.error), number


# The table itself.


def handshake_at(role: Role, stage: Stage) -> Handshake:
    handshake = Handshake(role, VERSIONS, None)
    handshake.stage = stage
    return handshake


def test_receive_moves_by_the_table_and_not_otherwise() -> None:
    for role, stage, frame_type in itertools.product(Role, Stage, FrameType):
        row = (role, stage, frame_type)
        handshake = handshake_at(role, stage)
        after = RECEIVING.get(row)
        if frame_type is FrameType.GOODBYE:
            after = Stage.CLOSED
        if stage is Stage.ATTACHED and (frame_type >= 16 or frame_type in (5, 6, 7)):
            after = Stage.ATTACHED
        if after is None:
            with pytest.raises(RemoteProtocolError):
                handshake.receive(frame_type)
            assert handshake.stage is stage, row
        else:
            handshake.receive(frame_type)
            assert handshake.stage is after, row


def test_a_decision_out_of_turn_is_our_own_bug() -> None:
    actions = {action for _, _, action in ACTING}
    for role, stage, action in itertools.product(Role, Stage, actions):
        row = (role, stage, action)
        handshake = handshake_at(role, stage)
        after = ACTING.get(row)
        if after is None:
            with pytest.raises(LocalProtocolError):
                handshake.act(action)
            assert handshake.stage is stage, row
        else:
            handshake.act(action)
            assert handshake.stage is after, row


def test_no_way_leads_to_a_session_around_the_login() -> None:
    # Walk the server's rows: every path to ATTACHED passes "accept" in AUTH.
    reached = {Stage.HELLO}
    moves = [(p, a, b) for (p, a, _), b in RECEIVING.items()]
    moves += [(p, a, b) for (p, a, action), b in ACTING.items() if action != "accept"]
    for _ in range(len(moves)):
        reached |= {b for p, a, b in moves if p is Role.SERVER and a in reached}
    assert reached == {Stage.HELLO, Stage.AUTH}


def test_the_first_auth_may_come_together_with_hello() -> None:
    link, _ = at_stage(Role.SERVER, Stage.HELLO)
    events = link.receive_data(FRAMES[FrameType.HELLO] + FRAMES[FrameType.AUTH], 0.0)
    assert events == [LoggedIn(IDENTITY)]
    link, _ = at_stage(Role.CLIENT, Stage.HELLO)
    link.log_in(ClientLogin())
    assert take_types(link) == [FrameType.AUTH]


def test_an_auth_after_the_login_is_done_is_an_error_and_one_before_it_began_too() -> None:
    link, _ = at_stage(Role.SERVER, Stage.AUTH)
    events = link.receive_data(FRAMES[FrameType.AUTH] * 2, 0.0)
    assert [type(event) for event in events] == [LoggedIn, LinkClosed]
    assert take_types(link) == [FrameType.AUTH, FrameType.GOODBYE]
    link = new_link(Role.CLIENT)
    (event,) = link.receive_data(FRAMES[FrameType.HELLO] + LAST_AUTH, 0.0)
    assert "before the login began" in str(describe(event))
    assert take_types(link) == [FrameType.HELLO, FrameType.GOODBYE]


def test_an_eof_before_login_ended_says_so() -> None:
    for role in Role:
        for stage in stages(role)[:-1]:
            link, _ = at_stage(role, stage)
            (event,) = link.receive_eof()
            assert isinstance(event, LinkClosed)
            cause: RshellError = event.cause
            is_early = "before login" in str(cause)
            assert is_early is (stage is not Stage.ATTACHED), (role, stage)


# Who proves what.


BINDING = bytes(range(32))
TOKEN = "a secret"
VERIFIER = Verifier.from_secret(TOKEN, salt=bytes(16))


def client_of(token: str = TOKEN, binding: bytes = BINDING, identity: str = "ann") -> ClientLogin:
    return ClientLogin(ScramClient(identity, token, binding))


def server_of(verifier: Verifier | None = VERIFIER) -> ServerLogin:
    def lookup(identity: str) -> Verifier | None:
        return verifier if identity == "ann" else None

    return ServerLogin(None, lambda: ScramServer(lookup, bytes(32), BINDING))


def joined(client: ClientLogin, server: ServerLogin) -> tuple[Link, Link, list[object]]:
    """Let two ends talk until neither says more; return them and what both heard."""
    ends = Link(Role.CLIENT, Bounds(), 0.0), Link(Role.SERVER, Bounds(), 0.0, login=server)
    ends[0].log_in(client)
    heard: list[object] = []
    for _ in range(4):
        for sender, receiver in (ends, ends[::-1]):
            heard += receiver.receive_data(take(sender), 0.0)
    return *ends, heard


def test_a_login_by_token_is_heard_of_when_both_ends_have_proved_it() -> None:
    server_login = server_of()
    assert not server_login.is_revoked(lambda _: None)  # nobody has named a token
    client, server, heard = joined(client_of(), server_login)
    assert heard == [LoggedIn("ann"), LoggedIn("ann")]
    assert client.handshake.identity == server.handshake.identity == "ann"
    assert client.stage is server.stage is Stage.ATTACH
    assert client.handshake.peer is not None
    assert client.handshake.peer.mechanisms == (SCRAM,)
    assert server_login.verifier is VERIFIER
    assert not server_login.is_revoked(lambda _: VERIFIER)
    assert server_login.is_revoked(lambda _: None)


def test_the_kernels_word_takes_one_step_and_no_token() -> None:
    server_login = ServerLogin("me")
    client, _, heard = joined(ClientLogin(), server_login)
    assert heard == [LoggedIn("me"), LoggedIn("me")]
    assert client.handshake.peer is not None
    assert client.handshake.peer.mechanisms == (EXTERNAL,)
    assert server_login.verifier is None
    assert not server_login.is_revoked(lambda _: None)


def test_a_wrong_token_an_unknown_name_and_another_certificate_hear_one_sentence() -> None:
    rows = (
        (client_of(token="wrong"), "not proved"),
        (client_of(identity="bob"), "not proved"),
        (client_of(binding=bytes(32)), "another TLS connection"),
        (ClientLogin(ScramClient("ann", TOKEN, None)), "channel binding"),
    )
    sentences = set()
    for login, reason in rows:
        client, server, heard = joined(login, server_of())
        names = [type(event).__name__ for event in heard]
        assert names == ["LoginFailed", "LinkClosed", "LinkClosed"], reason
        assert reason in str(heard[0])
        assert isinstance(server.error, AuthenticationFailed)
        assert isinstance(client.error, AuthenticationFailed)
        assert server.handshake.identity == client.handshake.identity == ""
        sentences |= {str(server.error), str(client.error)}
    (sentence,) = sentences
    assert "revoked" in sentence


def test_another_mechanism_than_the_transports_is_refused_by_its_name() -> None:
    """EXTERNAL over TLS would let anybody in as the server's own user."""
    for login, wrong, right in (
        (server_of(), EXTERNAL, SCRAM),
        (ServerLogin("me"), SCRAM, EXTERNAL),
    ):
        for mechanism in (wrong, "PLAIN", ""):
            with pytest.raises(AuthenticationFailed, match=f"takes the login {right} here"):
                login.step(Auth("", mechanism=mechanism))
    # The client that is refused for it counts as one that failed.
    server = new_link(Role.SERVER)
    hello = FRAMES[FrameType.HELLO]
    events = server.receive_data(hello + frame(FrameType.AUTH, 0, {"mechanism": "PLAIN"}), 0.0)
    assert [describe(event)[0] for event in events] == ["LoginFailed", "LinkClosed"]
    *_, (number, _, body) = decode_frames(take(server))
    assert number == FrameType.GOODBYE
    assert Goodbye.from_bytes(body).code == "auth"


def test_a_server_that_can_not_look_says_so_and_counts_nothing_against_the_client() -> None:
    def unreadable() -> ScramServer:
        raise ConfigurationError("/secret/path is damaged")

    client, server, heard = joined(client_of(), ServerLogin(None, unreadable))
    assert [type(event) for event in heard] == [LinkClosed, LinkClosed]
    assert isinstance(server.error, ConfigurationError)
    assert isinstance(client.error, SessionClosed)
    assert (client.error.code, client.error.by) == ("failed", "remote")
    assert "can't check logins" in str(client.error)
    assert "secret" not in str(client.error)


def test_a_challenge_is_good_for_one_guess() -> None:
    """A second proof for the same challenge would make guessing cheap."""
    client = ScramClient("ann", "wrong", BINDING)
    server = Link(Role.SERVER, Bounds(), 0.0, login=server_of())
    first = frame(FrameType.AUTH, 0, Auth(client.first(), mechanism=SCRAM).encode())
    assert server.receive_data(FRAMES[FrameType.HELLO] + first, 0.0) == []
    *_, (_, _, challenge) = decode_frames(take(server))
    guess = Auth(client.final(Auth.from_bytes(challenge).data)).encode()
    events = server.receive_data(frame(FrameType.AUTH, 0, guess) * 3, 0.0)
    assert [describe(event)[0] for event in events] == ["LoginFailed", "LinkClosed"]
    assert take_types(server) == [FrameType.GOODBYE]


def test_a_server_that_skips_or_adds_a_step_proves_nothing() -> None:
    challenge = f"r={{nonce}}more,s={'A' * 22}==,i=4096"
    done = {"done": True, "identity": "ann", "data": "v=" + "A" * 43 + "="}
    rows: tuple[tuple[bool, list[dict[str, object]], str], ...] = (
        (True, [done], "before it proved anything"),
        (True, [{"data": challenge}, {"data": challenge}], "not due"),
        (True, [{"data": challenge}, done], "did not prove"),
        (True, [{"data": "nonsense"}], "without r="),
        (False, [{"data": "more"}], "not due"),
    )
    for is_token, answers, reason in rows:
        client = new_link(Role.CLIENT)
        client.log_in(client_of() if is_token else ClientLogin())
        found = re.search(rb"r=([^\"]*)", take(client))
        nonce = found[1].decode() if found else ""
        events = client.receive_data(FRAMES[FrameType.HELLO], 0.0)
        for answer in answers:
            filled = {
                key: value.replace("{nonce}", nonce) if isinstance(value, str) else value
                for key, value in answer.items()
            }
            events += client.receive_data(frame(FrameType.AUTH, 0, filled), 0.0)
        (event,) = events
        assert isinstance(event, LinkClosed), reason
        assert isinstance(event.cause, AuthenticationFailed), reason
        assert str(event.cause).startswith("the login failed: "), reason
        assert reason in str(event.cause)
        assert isinstance(event.cause.__cause__, ScramError), reason
        assert take_types(client)[-1] == FrameType.GOODBYE, reason
        assert client.handshake.identity == ""


def test_a_login_begins_once_and_at_the_clients_end() -> None:
    client, server = new_link(Role.CLIENT), new_link(Role.SERVER)
    client.log_in(ClientLogin())
    for link in (client, server):
        with pytest.raises(LocalProtocolError, match="begins once"):
            link.log_in(ClientLogin())


# What a GOODBYE means.


def test_each_code_becomes_its_error() -> None:
    errors: dict[str, type[RshellError]] = {
        "auth": AuthenticationFailed,
        "resume-failed": ResumeFailed,
        "shutdown": SessionClosed,
        "a-later-code": SessionClosed,
    }
    for code, error in errors.items():
        found = error_from_goodbye(Goodbye(code, "because"), (1, 1))
        assert type(found) is error, code
        assert str(found) == "because", code


def test_each_refusal_becomes_its_goodbye() -> None:
    mismatch = VersionMismatch("no common one", ours=(1, 2), theirs=(4, 6))
    rows = (
        (mismatch, Goodbye("version", "no common one", (1, 2))),
        (AuthenticationFailed("why"), Goodbye("auth", "why")),
        (ResumeFailed("why"), Goodbye("resume-failed", "why")),
        (RemoteProtocolError("why", code="flood"), Goodbye("flood", "why")),
    )
    for error, goodbye in rows:
        assert goodbye_from_error(error, (1, 2)) == goodbye
    assert goodbye_from_error(ConfigurationError("where"), (1, 2)).code == "failed"


def test_each_loss_of_the_stream_becomes_its_error() -> None:
    stranger = UntrustedServer("a stranger")
    assert error_from_loss(stranger) is stranger
    for error, is_silent in (
        (ConnectionResetError("reset by peer"), False),
        (TimeoutError("no route"), True),
        (ValueError("odd"), False),
    ):
        lost = error_from_loss(error)
        assert isinstance(lost, LinkLost)
        assert (lost.silent, lost.__cause__) == (is_silent, error)
        assert str(error) in str(lost)


def test_a_goodbye_without_a_reason_says_its_code() -> None:
    assert str(error_from_goodbye(Goodbye("shutdown", ""), (1, 1))) == "shutdown"


def test_a_version_goodbye_names_both_ranges() -> None:
    found = error_from_goodbye(Goodbye("version", "x", (4, 6)), (1, 2))
    assert isinstance(found, VersionMismatch)
    assert (found.ours, found.theirs) == ((1, 2), (4, 6))
    assert "1 to 2" in str(found)
    assert "4 to 6" in str(found)


def test_a_version_goodbye_without_versions_is_no_crash() -> None:
    assert isinstance(error_from_goodbye(Goodbye("version", "x"), (1, 1)), SessionClosed)
