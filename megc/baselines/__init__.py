"""Answers without a language model, to compare a model with. They learn from the training subjects only."""
