"""Texts of data in markdown: a reader's program shows them as they are."""

import pytest

from evaluation.reports.markdown import escaped, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$20 for 3% of $30", r"\$20 for 3% of \$30"),
        ("*a* **b** ~~c~~", r"\*a\* \*\*b\*\* \~\~c\~\~"),
        ("_a_ spoken_piper", r"\_a\_ spoken_piper"),
        ("a|b\\c", r"a\|b\\c"),
        ("<b> &lt;b> R&D", "&lt;b> &amp;lt;b> R&amp;D"),
        ("[x](y) ![x](y) [88.0, 91.0]", r"[x]\(y) ![x]\(y) [88.0, 91.0]"),
        ("`a`\nb", r"\`a\` b"),
    ],
)
def test_nothing_in_a_text_means_anything(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_cell_of_a_table_may_be_bold_and_nothing_else() -> None:
    assert table(["task", "*n*"], [["**a*b**", "1 * 2"]])[::2] == [r"| task | \*n\* |", r"| **a\*b** | 1 \* 2 |"]
