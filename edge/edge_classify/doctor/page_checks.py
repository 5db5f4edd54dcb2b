"""Checks of where the page is served."""

from __future__ import annotations

import errno

from ..outputs.address import Address, listen, why_not
from .finding import Finding

_CHECK = "page"


def check_page(address: Address) -> Finding:
    """Whether edge-classify could serve its page there, or does so now."""
    try:
        listen(address).close()
    except OSError as error:
        text, remedy = why_not(address, error)
        if error.errno == errno.EADDRINUSE:
            text += ", unless it is edge-classify that runs now"
        return Finding("yellow", _CHECK, text, f"{remedy} ([web] address)")
    return Finding("green", _CHECK, f"{address}: free")
