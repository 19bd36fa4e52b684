"""What the study low_rank reports: its tables, figures, findings, and its section of the page."""
