"""Supervised fine-tuning: settings, data checks, trainer, log, resume."""
