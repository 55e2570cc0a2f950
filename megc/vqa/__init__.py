"""Questions, prompts and instruction records of ME visual question answering."""
