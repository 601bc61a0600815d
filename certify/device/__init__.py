"""What a device computes, how fast, and how far from the CPU: one check for a machine with a GPU."""
