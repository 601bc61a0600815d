"""Values in the overrides of Hydra's command line."""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

# What OmegaConf would take for a reference to another option, with the backslashes before it.
REFERENCE = re.compile(r"(\\*)\$\{")


def quoted(value: str) -> str:
    """A value of an override that is read as exactly this string, whatever it holds."""
    literal = REFERENCE.sub(lambda found: found[1] * 2 + r"\${", value)
    return QuotedString(literal, Quote.single).with_quotes()
