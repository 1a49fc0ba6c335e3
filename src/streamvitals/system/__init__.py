"""What the operating system offers, by the standard library alone: forks, descriptors, a line on stderr."""
