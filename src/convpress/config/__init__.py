"""The configuration: `sections` that studies share, a module a study, and the whole in `schema`."""
