"""Certification: measured proof that fast, packed, cached and resumed equal slow, plain and unbroken."""
