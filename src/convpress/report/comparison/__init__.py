"""What is reported of all networks side by side: tables, figures, findings and the section of the page."""
