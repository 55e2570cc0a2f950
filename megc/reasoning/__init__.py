"""Stored predictions to better ones: agreement, fusion. No torch in here."""
