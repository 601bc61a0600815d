"""What a model costs: parameters, operations, memory, and the size that meets a budget."""
