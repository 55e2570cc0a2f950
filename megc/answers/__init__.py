"""From a checkpoint and questions to stored answers."""
