"""What a person sees of data: figures, and text on one line."""
