"""Ways in, as people write them and as programs are started for them."""

from __future__ import annotations

import pytest

from rshell.errors import AddressError
from rshell.reach.ways import Way

KNOWN = (
    ("ssh://web", "ssh -T -- web sh"),
    ("ssh://me@web:2222/", "ssh -T -p 2222 -- me@web sh"),
    ("ssh://me@[::1]:22", "ssh -T -p 22 -- me@::1 sh"),
    ("ssh://[fe80::1%eth0]", "ssh -T -- fe80::1%eth0 sh"),
    ("docker://web", "docker exec -i web sh"),
    ("docker://root@web_1.x-y", "docker exec -i -u root web_1.x-y sh"),
    ("podman://web", "podman exec -i web sh"),
    ("kubectl://pod", "kubectl exec -i pod -- sh"),
    ("kubectl://ns/pod", "kubectl -n ns exec -i pod -- sh"),
    ("kubectl://ns/pod/box", "kubectl -n ns exec -i pod -c box -- sh"),
    ("kubectl:///pod/box", "kubectl exec -i pod -c box -- sh"),
    ("kubectl://ctx/ns/pod/box", "kubectl --context ctx -n ns exec -i pod -c box -- sh"),
    ("kubectl://ctx/ns/pod/", "kubectl --context ctx -n ns exec -i pod -- sh"),
)

WRONG = (
    *("ssh://", "ssh://-oProxyCommand=x", "ssh://me@-x", "ssh://-l@web", "ssh://web:", "ssh://a b"),
    *("ssh://web:0", "ssh://web:70000", "ssh://web:2x", "ssh://[::1", "ssh://web;id", "ssh://@web"),
    *("docker://", "docker://--privileged", "docker://a/b", "docker://a b", "podman://@web"),
    *("kubectl://", "kubectl://-n/pod", "kubectl://a/b/c/d/e", "kubectl://ns/", "kubectl://a b"),
    *("ftp://web", "://web", "SSH://web"),
)


@pytest.mark.parametrize(("text", "argv"), KNOWN)
def test_a_way_in_is_started_as_its_program_wants_it(text: str, argv: str) -> None:
    way = Way.parse(text)
    assert way is not None and way.name == text
    assert " ".join(way.command("sh")) == argv


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_way_in_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        Way.parse(text)
    assert "://" in str(caught.value) and caught.value.text == text


def test_other_addresses_are_none() -> None:
    for text in ("web", "web:7000", "unix:/path", "[::1]:7000", ""):
        assert Way.parse(text) is None


def test_nobody_is_asked_for_a_password_when_a_link_is_made_anew() -> None:
    way = Way.parse("ssh://web")
    assert way is not None
    assert way.command("sh", again=True) == ("ssh", "-o", "BatchMode=yes", "-T", "--", "web", "sh")
    way = Way.of_words("kubectl exec -i 'my pod' --")
    assert way.command("sh", again=True) == ("kubectl", "exec", "-i", "my pod", "--", "sh")
    assert way.name == "kubectl exec -i 'my pod' --"
    no_words: tuple[str | list[str], ...] = ("", [], "a 'b")
    for words in no_words:
        with pytest.raises(AddressError):
            Way.of_words(words)
