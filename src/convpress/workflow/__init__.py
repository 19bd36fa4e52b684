"""What Snakemake needs of the library at its start and after its end; no method is in here."""
