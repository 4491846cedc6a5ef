"""A todo backend whose SQL is a reviewed artefact."""

NAME = "todo"
VERSION = "1.1.0"
