"""Secrets in values: they are neither shown nor kept in files that everybody reads."""

from __future__ import annotations

import re

from ..sources.network import without_password

_USER_ALONE = re.compile(r"([a-z][a-z0-9+.-]*://)([^:@/?#]+@)(?!.*@)", re.DOTALL)


def without_secret(word: str) -> str:
    """The value as it may be shown. A user's name alone, as in mqtts://user@host, is no secret."""
    found = _USER_ALONE.match(word)
    if found is None:
        return without_password(word)
    rest = without_password(found[1] + word[found.end() :])
    return found[0] + rest.removeprefix(found[1])
