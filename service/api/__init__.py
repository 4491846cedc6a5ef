"""February's contract, the current one: /api."""
