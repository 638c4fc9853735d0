"""Signatures: what one end signs the other believes, within the window, and nothing else."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from otel_gen.errors import SettingsError
from otel_gen.signing import NONCE, SIGNATURE, TIMESTAMP, WINDOW, SignatureError, key_bytes, signed, verify

KEY, BODY, NOW = b"k" * 32, b'{"score": 0.5}', 1_790_000_000.5


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def test_the_signature_is_the_documented_one():
    headers = signed(KEY, BODY, NOW)
    message = b"v1\n1790000000\n" + headers[NONCE].encode() + b"\n" + BODY
    assert headers[TIMESTAMP] == "1790000000"
    assert headers[SIGNATURE] == "v1=" + hmac.new(KEY, message, hashlib.sha256).hexdigest()


def test_what_is_signed_is_believed_and_no_nonce_comes_twice():
    nonces = {verify(KEY, lower(signed(KEY, BODY, NOW)), BODY, NOW) for _ in range(100)}
    assert len(nonces) == 100


@pytest.mark.parametrize("late", [-WINDOW, 0, WINDOW])
def test_clocks_may_differ_by_the_window(late):
    assert verify(KEY, lower(signed(KEY, BODY, int(NOW))), BODY, int(NOW) + late)


@pytest.mark.parametrize("late", [-WINDOW - 1, WINDOW + 1])
def test_and_no_more(late):
    with pytest.raises(SignatureError, match="stale"):
        verify(KEY, lower(signed(KEY, BODY, int(NOW))), BODY, int(NOW) + late)


@pytest.mark.parametrize(
    "change",
    [
        {"x-otel-gen-signature": ""},
        {"x-otel-gen-signature": "v1="},
        {"x-otel-gen-signature": "v1=" + "0" * 64},
        {"x-otel-gen-signature": "ü"},
        {"x-otel-gen-timestamp": "1790000001"},
        {"x-otel-gen-timestamp": "now"},
        {"x-otel-gen-timestamp": ""},
        {"x-otel-gen-nonce": "a" * 20},
        {"x-otel-gen-nonce": ""},
        {"x-otel-gen-nonce": "../../etc/passwd/and/more"},
    ],
)
def test_a_changed_header_is_not_believed(change):
    with pytest.raises(SignatureError, match="bad signature"):
        verify(KEY, lower(signed(KEY, BODY, NOW)) | change, BODY, NOW)


def test_neither_is_a_changed_body_nor_another_key_nor_one_line_moved_into_another():
    headers = lower(signed(KEY, BODY, NOW))
    for key, body in ((KEY, BODY + b" "), (b"x" * 32, BODY), (KEY, b"")):
        with pytest.raises(SignatureError, match="bad signature"):
            verify(key, headers, body, NOW)


def test_well_signed_but_malformed_is_not_believed():
    headers = {"x-otel-gen-timestamp": "1790000000", "x-otel-gen-nonce": "short"}
    message = b"v1\n1790000000\nshort\n" + BODY
    headers["x-otel-gen-signature"] = "v1=" + hmac.new(KEY, message, hashlib.sha256).hexdigest()
    with pytest.raises(SignatureError, match="bad signature"):
        verify(KEY, headers, BODY, NOW)


def test_a_short_key_is_refused_and_not_shown():
    assert key_bytes("0123456789abcdef") == b"0123456789abcdef"
    with pytest.raises(SettingsError, match="9 bytes") as refused:
        key_bytes("my-secret")
    assert "my-secret" not in str(refused.value)


@pytest.mark.parametrize("key", [32, True, 16.0, None, [7] * 32, memoryview(b"k" * 32)])
def test_a_key_is_text_or_bytes_and_never_a_number_of_zeros(key):
    with pytest.raises(SettingsError, match=f"text or bytes, not {type(key).__name__}"):
        key_bytes(key)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_all_kinds_of_a_key_are_the_same_key(kind):
    assert key_bytes(kind(b"0123456789abcdef")) == key_bytes("0123456789abcdef")
