from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.protocol.scram import ScramClient, ScramError, ScramServer, Verifier

BINDING = bytes(range(32))
FAKE_KEY = b"f" * 32
SECRET = "correct-horse"
VERIFIERS = {"ann": Verifier.from_secret(SECRET)}

# Random Unicode is nearly always refused at the first look; ASCII gets further.
ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@given(ascii_text | st.text())
def test_fuzz_client_first_raises_nothing_else(text: str) -> None:
    for message in (text, f"p=tls-server-end-point,,n={text}", f"n,,n=ann,r={text}"):
        for binding in (BINDING, None):
            try:
                ScramServer(VERIFIERS.get, FAKE_KEY, binding).challenge(message)
            except ScramError:
                pass


@given(ascii_text | st.text())
def test_fuzz_client_final_is_never_accepted(text: str) -> None:
    for form in (
        "{}",
        "c={},r=mineyours,p=YQ==",
        "c=biws,r=mineyours,p={}",
        "c=biws,r=mineyours{}",
    ):
        server = ScramServer(VERIFIERS.get, FAKE_KEY, None, nonce="yours")
        server.challenge("n,,n=ann,r=mine")
        with pytest.raises(ScramError):
            server.finish(form.format(text))


@given(ascii_text | st.text())
def test_fuzz_server_messages_raise_nothing_else(text: str) -> None:
    for form in (
        "{}",
        "r=mine{},s=c2FsdHNhbHQ=,i=4096",
        "r=mine-s,s={},i=4096",
        "r=mine-s,s=YQ==,i={}",
    ):
        client = ScramClient("ann", SECRET, BINDING, nonce="mine")
        client.first()
        try:
            client.final(form.format(text))
        except ScramError:
            continue
        with pytest.raises(ScramError):
            client.verify(text)


@given(ascii_text.filter(bool), ascii_text)
def test_any_printable_identity_and_secret_can_log_in(identity: str, secret: str) -> None:
    verifier = Verifier.from_secret(secret)
    client = ScramClient(identity, secret, BINDING)
    server = ScramServer({identity: verifier}.get, FAKE_KEY, BINDING)
    client.verify(server.finish(client.final(server.challenge(client.first()))))
    assert server.identity == identity
