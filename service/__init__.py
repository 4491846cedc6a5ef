"""A todo backend whose SQL is a reviewed artefact."""

NAME = "todo"
VERSION = "1.0.0"
