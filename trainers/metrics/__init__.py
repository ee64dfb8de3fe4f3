"""What evaluations report, a formula a file, named after it."""
