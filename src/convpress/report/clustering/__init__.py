"""What the study clustering reports: its tables, figures, findings, and its section of the page."""
