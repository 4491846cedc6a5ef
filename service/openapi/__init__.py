"""The OpenAPI document, made from the contracts, and the page that shows it."""
