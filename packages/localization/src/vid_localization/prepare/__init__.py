"""Commands that convert official downloads and features to the formats that datasets read."""
