"""Checks of what edge-classify tells others: the broker, where metrics are served or written, and the page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .finding import Finding


def check_network(options: argparse.Namespace) -> Iterator[Finding]:
    """Check the options of edge-classify that name somebody; they have passed what can be checked by themselves."""
    if options.mqtt is not None:
        from .mqtt_checks import check_mqtt

        yield from check_mqtt(options)
    if options.metrics is not None:
        from .metrics_checks import check_metrics

        yield check_metrics(options.metrics)
    if getattr(options, "web", False):  # of a configuration file; edge-doctor itself has no such option
        from .page_checks import check_page

        yield check_page(options.web_address)
