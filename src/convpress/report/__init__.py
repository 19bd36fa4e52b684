"""What a run says: its tables come from metrics and models, its figures and the page from the tables alone."""
