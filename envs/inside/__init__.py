"""What runs inside grading sessions. The files are sent as text, one behind the other, so they use the standard
library only, and what an earlier one defines they import for the reader alone."""
