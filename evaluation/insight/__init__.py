"""What an answer depends on: attention, attribution, deletion."""
