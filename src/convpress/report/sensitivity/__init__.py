"""What the study sensitivity reports: its tables, figures, findings, and its section of the page."""
