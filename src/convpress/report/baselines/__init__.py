"""What is reported of the baselines: their table and the section of the page that shows it."""
