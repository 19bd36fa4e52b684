"""Figures and the report page, drawn from a run's tables alone."""
