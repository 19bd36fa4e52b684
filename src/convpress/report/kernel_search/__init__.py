"""What the study kernel_search reports: its tables, figures, findings, and its section of the page."""
