"""Passwords in addresses."""

import pytest

from utils.secrets import without_passwords


@pytest.mark.parametrize(
    ("text", "left"),  # None: whatever is left
    [
        ("mongodb://me:geheim@host:27017/db", "mongodb://me:***@host:27017/db"),
        ("mongo_url=mongodb+srv://me:ge%40heim@host/?w=1 lr=1", "mongo_url=mongodb+srv://me:***@host/?w=1 lr=1"),
        # what should have been escaped
        ("mongodb://me:ge@heim@host", "mongodb://me:***@host"),
        ("mongodb://me:ge/hei:m@host", "mongodb://me:***@host"),
        ("'mongodb://me:geheim@host' (command line)", "'mongodb://me:***@host' (command line)"),
        ("mongodb://me:ge heim'@host", "mongodb://me:***@host"),
        ("mongodb://:geheim@host", "mongodb://:***@host"),
        ("mongodb://host/?tls=true&tlsCertificateKeyFilePassword=geheim&w=1", None),
        ("mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:geheim", None),
        # nothing to hide
        ("mongodb://host:27017/db", "mongodb://host:27017/db"),
        ("mongodb://me@host:27017", "mongodb://me@host:27017"),
        ("test_teams=3-5,8 at 12:30, mail@host", "test_teams=3-5,8 at 12:30, mail@host"),
    ],
)
def test_passwords_are_taken_out(text, left):
    clean = without_passwords(text)
    assert "geheim" not in clean
    assert "heim" not in clean
    if left is not None:
        assert clean == left
