"""Tables and figures of one evaluation."""
