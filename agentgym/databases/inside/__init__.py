"""What runs in the processes of databases."""
