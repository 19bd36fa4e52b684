"""What the study merging reports: its tables, figures, findings, and its section of the page."""
