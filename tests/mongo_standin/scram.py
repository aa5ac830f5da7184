"""The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), with which drivers show that they know a password."""

import base64
import hashlib
import hmac
import os

from mongo_standin.values import Refused

MECHANISM = "SCRAM-SHA-256"
_ITERATIONS = 4096


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def failed() -> Refused:
    return Refused(18, "AuthenticationFailed", "Authentication failed.")


class Exchange:
    """One client's attempt to log in."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._salt = os.urandom(28)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self._salt, _ITERATIONS)
        self._stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
        self._server_key = _hmac(salted, b"Server Key")
        self._so_far = b""
        self._nonce = b""

    def first(self, payload: bytes) -> bytes:
        """Answer the client's first message, which says who it is."""
        bare = payload.removeprefix(b"n,,")
        words = _words(bare)
        name = words.get(b"n", b"").replace(b"=2C", b",").replace(b"=3D", b"=")
        if name != self._user.encode() or b"r" not in words:
            raise failed()
        self._nonce = words[b"r"] + base64.b64encode(os.urandom(24))
        answer = b"r=%b,s=%b,i=%d" % (self._nonce, base64.b64encode(self._salt), _ITERATIONS)
        self._so_far = bare + b"," + answer
        return answer

    def final(self, payload: bytes) -> bytes:
        """Answer the client's proof with the server's own."""
        without_proof, _, proof = payload.rpartition(b",p=")
        words = _words(without_proof)
        text = self._so_far + b"," + without_proof
        signature = _hmac(self._stored_key, text)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=False))
        if words.get(b"r") != self._nonce or hashlib.sha256(key).digest() != self._stored_key:
            raise failed()
        return b"v=" + base64.b64encode(_hmac(self._server_key, text))


def _words(text: bytes) -> dict[bytes, bytes]:
    return {name: value for name, _, value in (part.partition(b"=") for part in text.split(b","))}
