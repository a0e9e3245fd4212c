"""Models of spatio-temporal action detection; one file per architecture."""
