"""The report over all sweeps of a folder: one page, the figures and tables of a paper, README's blocks."""
