"""January's contract, frozen: /v1. It goes away with this folder and one line in app.py."""
