"""`streamvitals report`: what a program's streams did, from the journal that it wrote (docs/journal.md)."""
