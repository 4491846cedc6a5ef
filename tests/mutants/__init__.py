"""Mutation testing: plants single faults in copies of the service and names those that no test notices.

Not mutmut 3, which mutates functions alone and runs them in the process of the tests, and not cosmic-ray, which has one
test command for all files: here a fault has to be in what `python -m service` imports, constants of a module included,
and only the tests of the mutated file are quick enough.
"""
