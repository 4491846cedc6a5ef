"""The dashboard's queries on a service under load: their test, and make dashboard, which draws them."""
