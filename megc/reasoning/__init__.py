"""Stored predictions to better ones: rules, agreement, fusion. No torch in here."""
