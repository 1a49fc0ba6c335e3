"""Functions of the operating system, by the standard library alone: forks, descriptors, a line on stderr."""
