"""Commands that turn official downloads into what the data sets read."""
