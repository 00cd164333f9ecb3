"""What each command does between its options and what it shows."""
