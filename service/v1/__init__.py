"""January's contract, frozen: /v1. It goes away with this folder and the lines that name it."""
