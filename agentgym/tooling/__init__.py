"""What makes tools of functions, classes and servers, and finds them."""
