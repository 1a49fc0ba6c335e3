"""Other instrumentations of the SDK in the same process: ``make apps``."""
