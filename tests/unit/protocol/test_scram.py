from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from rshell.errors import LocalProtocolError
from rshell.protocol.scram import ScramClient, ScramError, ScramServer, Verifier
from tests.support.rows import row

BINDING = bytes(range(32))
FAKE_KEY = b"f" * 32
SALT = b"s" * 16
SECRET = "correct-horse"
VERIFIER = Verifier.from_secret(SECRET, salt=SALT)

# RFC 7677 section 3.
RFC_CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
RFC_SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
RFC_CLIENT_FIRST = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
RFC_SERVER_FIRST = (
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
RFC_CLIENT_FINAL = (
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
RFC_SERVER_FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def lookup(identity: str) -> Verifier | None:
    return VERIFIER if identity == "ann" else None


def make_server(binding: bytes | None = BINDING) -> ScramServer:
    return ScramServer(lookup, FAKE_KEY, binding)


def log_in(client: ScramClient, server: ScramServer) -> None:
    client.verify(server.finish(client.final(server.challenge(client.first()))))


def test_rfc_7677_vector_client() -> None:
    client = ScramClient("user", "pencil", None, nonce=RFC_CLIENT_NONCE)
    assert client.first() == RFC_CLIENT_FIRST
    assert client.final(RFC_SERVER_FIRST) == RFC_CLIENT_FINAL
    client.verify(RFC_SERVER_FINAL)


def test_rfc_7677_vector_server() -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = Verifier.from_secret("pencil", salt=salt)
    server = ScramServer({"user": verifier}.get, FAKE_KEY, None, nonce=RFC_SERVER_NONCE)
    assert server.challenge(RFC_CLIENT_FIRST) == RFC_SERVER_FIRST
    assert server.finish(RFC_CLIENT_FINAL) == RFC_SERVER_FINAL
    assert server.identity == "user"


def test_login_with_channel_binding() -> None:
    client, server = ScramClient("ann", SECRET, BINDING), make_server()
    log_in(client, server)
    assert server.identity == "ann"


def test_nonces_are_never_the_same_twice() -> None:
    firsts = {ScramClient("ann", SECRET, BINDING).first() for _ in range(10)}
    challenges = {make_server().challenge(first) for first in firsts}
    assert len(firsts) == len(challenges) == 10


@pytest.mark.parametrize("identity", ["a,b", "a=b", "=2C", "=3D2C", "a=,=b", " blank "])
def test_commas_and_equals_signs_in_an_identity_are_escaped(identity: str) -> None:
    asked: list[str] = []

    def remember(name: str) -> Verifier:
        asked.append(name)
        return VERIFIER

    server = ScramServer(remember, FAKE_KEY, BINDING)
    log_in(ScramClient(identity, SECRET, BINDING), server)
    assert asked == [identity] == [server.identity]


def refusal(client: ScramClient, server: ScramServer) -> str:
    answer = client.final(server.challenge(client.first()))
    with pytest.raises(ScramError) as caught:
        server.finish(answer)
    return str(caught.value)


def test_wrong_token_is_refused_without_naming_it() -> None:
    message = refusal(ScramClient("ann", "wrong-token", BINDING), make_server())
    assert "wrong-token" not in message and SECRET not in message


def test_unknown_identity_reads_like_a_wrong_token() -> None:
    wrong = refusal(ScramClient("ann", "wrong-token", BINDING), make_server())
    assert refusal(ScramClient("nobody", SECRET, BINDING), make_server()) == wrong


def test_unknown_identity_is_challenged_alike_and_steadily() -> None:
    def salt_and_count(name: str) -> list[str]:
        challenge = make_server().challenge(ScramClient(name, SECRET, BINDING).first())
        return challenge.split(",")[1:]

    known, unknown, other = (salt_and_count(name) for name in ("ann", "nobody", "noone"))
    assert [len(part) for part in known] == [len(part) for part in unknown]
    assert known[1] == unknown[1]  # iterations
    assert unknown == salt_and_count("nobody")  # a salt that changed would give it away
    assert unknown != other != known


def test_identity_whose_fake_verifier_is_proved_still_fails() -> None:
    """Even with the server's own fake key nobody logs in as an unknown identity."""
    client, server = ScramClient("nobody", SECRET, BINDING), make_server()
    answer = client.final(server.challenge(client.first()))
    server._verifier = Verifier.from_secret(SECRET, salt=server._verifier.salt)
    with pytest.raises(ScramError):
        server.finish(answer)


def calls_of(step: Callable[[str], str], message: str) -> tuple[str, list[str]]:
    """Take a step; returns its answer and the functions, in C and Python, that it called."""
    answer, calls = "", []

    def record(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)
        elif event == "c_call":
            calls.append(getattr(argument, "__name__", "?"))

    sys.setprofile(record)
    try:
        answer = step(message)
    except ScramError:
        calls.append("refused")
    finally:
        sys.setprofile(None)
    return answer, calls


def test_known_and_unknown_identity_take_the_same_steps() -> None:
    steps = []
    for name in ("ann", "bob"):
        client, server = ScramClient(name, "wrong-token", BINDING), make_server()
        challenge, before = calls_of(server.challenge, client.first())
        _, after = calls_of(server.finish, client.final(challenge))
        steps.append((before, after))
    known, unknown = steps
    assert known == unknown
    assert known[0].count("hmac_digest") == 3 and known[1].count("hmac_digest") == 2
    assert "refused" in known[1]


def test_wrong_binding_is_refused_man_in_the_middle() -> None:
    message = refusal(ScramClient("ann", SECRET, bytes(32)), make_server())
    assert "another TLS connection" in message


def test_downgrade_of_the_binding_is_refused() -> None:
    for flag in ["n", "y", "", "p=tls-unique", "p=", "x"]:
        with row(flag), pytest.raises(ScramError, match="channel binding"):
            make_server().challenge(f"{flag},,n=ann,r=abc")


def test_downgrade_with_an_exchanged_header_is_refused() -> None:
    """Somebody in between makes `n` of the offer to a server without a binding."""
    client, server = ScramClient("ann", SECRET, BINDING), make_server(None)
    challenge = server.challenge("n" + client.first().removeprefix("p=tls-server-end-point"))
    with pytest.raises(ScramError):
        server.finish(client.final(challenge))


def test_binding_that_the_server_cannot_check_is_refused() -> None:
    with pytest.raises(ScramError):
        make_server(None).challenge(ScramClient("ann", SECRET, BINDING).first())


def test_replayed_answer_is_refused() -> None:
    client, server = ScramClient("ann", SECRET, BINDING, nonce="same"), make_server()
    answer = client.final(server.challenge(client.first()))
    server.finish(answer)
    victim = make_server()
    victim.challenge(ScramClient("ann", SECRET, BINDING, nonce="same").first())
    with pytest.raises(ScramError, match="another challenge"):
        victim.finish(answer)


def test_replayed_challenge_is_refused() -> None:
    for nonce in ["mine", "min", "other", "Mine-x", "mine x"]:
        with row(nonce):
            client = ScramClient("ann", SECRET, BINDING, nonce="mine")
            client.first()
            with pytest.raises(ScramError, match="nonce"):
                client.final(f"r={nonce},s=c2FsdHNhbHQ=,i=4096")


def test_iterations_out_of_range_are_refused() -> None:
    for iterations in ["0", "1", "4095", "1000001", "9" * 10, "9" * 99, "-1", "x"]:
        with row(iterations):
            client = ScramClient("ann", SECRET, BINDING, nonce="mine")
            client.first()
            with pytest.raises(ScramError, match="iteration"):
                client.final(f"r=mine-server,s=c2FsdHNhbHQ=,i={iterations}")


def test_changed_server_proof_is_refused() -> None:
    changes: list[Callable[[str], str]] = [
        lambda final: "v=",
        lambda final: final[:-2],
        lambda final: f"v={base64.b64encode(bytes(32)).decode()}",
        lambda final: f"m=x,{final}",
        lambda final: f"{final},v=again",
        lambda final: f"{final}\n",
    ]
    for number, change in enumerate(changes):
        with row(number):
            client, server = ScramClient("ann", SECRET, BINDING), make_server()
            final = server.finish(client.final(server.challenge(client.first())))
            with pytest.raises(ScramError):
                client.verify(change(final))


def test_server_without_the_verifier_cannot_pose_as_one() -> None:
    client = ScramClient("ann", SECRET, BINDING)
    impostor = Verifier.from_secret("guess", salt=SALT)
    posing = ScramServer(lambda _: impostor, FAKE_KEY, BINDING)
    client.final(posing.challenge(client.first()))
    with pytest.raises(ScramError, match="did not prove"):
        client.verify(f"v={base64.b64encode(impostor.server_key).decode()}")


def test_error_of_the_server_is_not_repeated() -> None:
    client, server = ScramClient("ann", SECRET, BINDING), make_server()
    client.final(server.challenge(client.first()))
    with pytest.raises(ScramError) as caught:
        client.verify("e=[2J-run-this")
    assert "run-this" not in str(caught.value)


def test_optional_extensions_are_ignored() -> None:
    client, server = ScramClient("ann", SECRET, None, nonce="mine"), make_server(None)
    challenge = server.challenge(client.first() + ",x=what")
    assert challenge.startswith("r=mine")
    assert client.final("r=mine-s,s=c2FsdHNhbHQ=,i=4096,z=1")


def test_malformed_first_message_is_refused() -> None:
    for first in [
        "",
        "p=tls-server-end-point",
        "p=tls-server-end-point,",
        "p=tls-server-end-point,a=root,n=ann,r=abc",
        "p=tls-server-end-point,,n=ann,r=abc,m=1",
        "p=tls-server-end-point,,r=abc,n=ann",
        "p=tls-server-end-point,,n=,r=abc",
        "p=tls-server-end-point,,n=a=b,r=abc",
        "p=tls-server-end-point,,n=ann,r=",
        "p=tls-server-end-point,,n=ann,r=a c",
        "p=tls-server-end-point,,n=ann,r=abc,",
        "p=tls-server-end-point,,n=ann,r=abc,r=def",
        "p=tls-server-end-point,,n=änn,r=abc",
        "p=tls-server-end-point,,n=ann\n,r=abc",
        "p=tls-server-end-point,,n=ann,r=abc\0",
        "p=tls-server-end-point,,n=ann,r=" + "a" * 4096,
    ]:
        with row(first), pytest.raises(ScramError):
            make_server().challenge(first)


def test_empty_or_sloppy_base64_is_refused() -> None:
    for text in ["", "YQ", "YQ=", "YR==", "Y Q==", "YQ==\n", "YQ==YQ==", "-_=="]:
        with row(text):
            client = ScramClient("ann", SECRET, BINDING, nonce="mine")
            client.first()
            with pytest.raises(ScramError):
                client.final(f"r=mine-server,s={text},i=4096")


def test_second_guess_at_one_challenge_is_refused() -> None:
    client, server = ScramClient("ann", SECRET, BINDING), make_server()
    answer = client.final(server.challenge(client.first()))
    with pytest.raises(ScramError):
        server.finish("guess")
    with pytest.raises(LocalProtocolError):
        server.finish(answer)


def test_steps_out_of_order_are_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError):
        ScramClient("ann", SECRET, BINDING).final("r=x")
    with pytest.raises(LocalProtocolError):
        ScramClient("ann", SECRET, BINDING).verify("v=x")
    with pytest.raises(LocalProtocolError):
        make_server().finish("c=x")
    with pytest.raises(LocalProtocolError):
        _ = make_server().identity


def test_finish_after_a_failed_challenge_proves_nobody() -> None:
    server = make_server()
    with pytest.raises(ScramError):
        server.challenge("nonsense")
    with pytest.raises(ScramError):
        server.finish("c=,r=,p=" + base64.b64encode(bytes(32)).decode())


def test_unusable_identity_is_refused_by_the_client() -> None:
    for identity in ["", "ä", "a\n", "a" * 4097]:
        with row(identity), pytest.raises(ScramError):
            ScramClient(identity, SECRET, BINDING)


def test_secret_with_other_than_ascii_is_refused_without_naming_it() -> None:
    with pytest.raises(ScramError) as caught:
        Verifier.from_secret("geheimnis-ä")
    assert "geheimnis" not in str(caught.value)


def test_verifier_survives_json() -> None:
    assert Verifier.from_json(VERIFIER.to_json()) == VERIFIER


def test_verifiers_of_one_secret_differ_by_salt() -> None:
    assert Verifier.from_secret(SECRET).stored_key != Verifier.from_secret(SECRET).stored_key


def test_repr_of_a_verifier_hides_its_keys() -> None:
    assert repr(VERIFIER.server_key) not in repr(VERIFIER)
    assert repr(VERIFIER.stored_key) not in repr(VERIFIER)


def test_damaged_verifier_is_refused() -> None:
    changes: list[dict[str, Any]] = [
        {"iterations": True},
        {"iterations": "4096"},
        {"iterations": 1},
        {"salt": ""},
        {"salt": 7},
        {"stored_key": "YQ=="},
        {"server_key": "nonsense"},
    ]
    for change in changes:
        with row(change), pytest.raises(ScramError):
            Verifier.from_json(VERIFIER.to_json() | change)
