"""The page of all rules is made from the rules."""

from pathlib import Path

from workbench import checks

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"
COMMAND = "python -c \"from workbench import checks; print(checks.markdown(), end='')\""


def test_the_page_is_what_the_rules_say():
    assert PAGE.read_text(encoding="utf-8") == checks.markdown(), f"{COMMAND} > docs/checks.md"


def test_every_rule_is_a_row_with_all_its_words():
    rows = [line for line in checks.markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == len(checks.RULES)
    assert all(cell.strip() for row in rows for cell in row.replace("\\|", "").split("|")[1:-1])
