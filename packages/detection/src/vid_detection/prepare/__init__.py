"""Commands that check official downloads and write what datasets read."""
