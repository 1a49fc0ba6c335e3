"""The openai SDK's own tests, bare and observed: ``make sdk-suite``."""
