"""A mixer that is no attention, for tests of what every mixer may be: the one of docs/extending.md, as it stands there.

Its `before` makes queries, keys, values and the logarithm of a gate of each token, and

    state_t = gate_t * state_(t-1) + key_t value_t^T        out_t = query_t state_t
"""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

from tests.pages.examples import files, read

PAGE, FILE = "docs/extending.md", "linear_attention.py"
D_KEY = 8


def _worked() -> ModuleType:
    """The module, which needs to be known by its name while its annotations are read."""
    module = ModuleType("tests.fusion.linear_attention")
    sys.modules[module.__name__] = module
    exec(compile(files(read(PAGE))[FILE], f"{PAGE} {FILE}", "exec"), vars(module))
    return module


GatedLinearAttention = _worked().GatedLinearAttention
LinearMixer = partial(GatedLinearAttention, d_key=D_KEY)
