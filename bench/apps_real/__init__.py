"""Other people's applications and frameworks, bare and observed: ``make apps``."""
