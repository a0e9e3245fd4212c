"""Loading of features and proposals."""
