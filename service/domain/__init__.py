"""What the API means, without HTTP: tasks, accounts, limits. The owner is the first argument of every function."""
