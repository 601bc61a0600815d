"""What a check shows: its report, figures and contact sheet."""
