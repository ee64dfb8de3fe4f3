"""What our servers have in common: an address, a token, an application that counts what it does
and says what it refuses, and a loop that runs until it is told to stop."""
