"""What a training would take: memory, disk and steps, from shapes alone."""
