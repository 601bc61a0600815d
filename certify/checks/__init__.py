"""Checks of a certificate, by what they prove."""
