from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import ConfigurationError, UntrustedServer
from rshell.security.certificates import fingerprint
from rshell.security.pins import check_fingerprint
from rshell.values import Address

ADDRESS = Address("example.org", 7000)
DER = b"a certificate"
PIN = fingerprint(DER)
OTHER = fingerprint(b"another certificate")


def test_expected_certificate_passes() -> None:
    check_fingerprint(PIN, DER, ADDRESS)
    check_fingerprint(PIN.upper(), DER, ADDRESS)


def test_without_a_pin_any_certificate_passes_but_none_at_all_does_not() -> None:
    check_fingerprint(None, DER, ADDRESS)
    for nothing in (b"", None):
        for expected in (None, PIN):
            with pytest.raises(UntrustedServer, match="no certificate"):
                check_fingerprint(expected, nothing, ADDRESS)


def test_another_certificate_is_refused_with_both_fingerprints() -> None:
    with pytest.raises(UntrustedServer) as caught:
        check_fingerprint(OTHER, DER, ADDRESS)
    assert (caught.value.expected, caught.value.received) == (OTHER, PIN)
    assert all(text in str(caught.value) for text in (OTHER, PIN, str(ADDRESS), "--login"))


@pytest.mark.parametrize("expected", ["", "SHA256:", PIN[:-1], PIN + "0", PIN[7:15]])
def test_expected_that_is_no_whole_fingerprint_fails_closed(expected: str) -> None:
    with pytest.raises(ConfigurationError):
        check_fingerprint(expected, DER, ADDRESS)


@given(st.binary(min_size=1))
def test_only_the_very_same_certificate_passes(der: bytes) -> None:
    check_fingerprint(fingerprint(der), der, ADDRESS)
    with pytest.raises(UntrustedServer):
        check_fingerprint(fingerprint(der), der + b"\0", ADDRESS)
