"""The same asked in several forms: whether answers agree, and who wins where forms contradict one another."""
