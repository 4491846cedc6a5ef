"""The use cases of the API, without HTTP: tasks, accounts, limits. Each function takes the owner as an argument."""
