"""Names of the classes of data sets that have many, in the order of their label numbers."""
