"""Answers without a language model, to hold a model against: the training answers' priors, and a flow probe."""
