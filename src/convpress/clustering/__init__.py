"""The study clustering: how many different filters does a layer need?

`grouping` decides which filters share, `budget` how many filters each layer keeps, `remedies` puts the shared filters
into a network, and `sweep` evaluates many networks that differ in a few kernels.
"""
