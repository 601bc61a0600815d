"""Digits that are seen and heard, and questions about them where it is known what each modality tells."""
