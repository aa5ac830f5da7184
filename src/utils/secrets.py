"""Passwords in addresses, which are for nobody's eyes."""

import re

#: the user's part of an address: up to the last @ of the text, as a password that was not escaped may hold anything
_USER = re.compile(r"(://[^\s/:@]*):.*@", re.DOTALL)
#: what an address may hold as an option
_OPTION = re.compile(r"((?:tlsCertificateKeyFilePassword|AWS_SESSION_TOKEN)[=:])[^\s&,'\"]+", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """`text` with *** in place of every password in an address of the form scheme://user:password@host."""
    return _OPTION.sub(r"\1***", _USER.sub(r"\1:***@", text))
