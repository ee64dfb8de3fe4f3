"""What our servers have in common: an address, a token, and a loop that runs until it is told to stop."""
