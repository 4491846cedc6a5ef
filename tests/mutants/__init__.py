"""Mutation testing: plants single faults in copies of the service and lists those that no test notices.

mutmut 3 does not fit: it mutates only functions, inside the process of the tests, while a fault here must be in the
modules that `python -m service` imports, module constants included. cosmic-ray does not fit: it has one test command
for all files, while only the tests of the mutated file are quick enough.
"""
