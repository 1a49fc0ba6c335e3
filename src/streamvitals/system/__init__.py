"""What the operating system gives, by the standard library alone: forks, descriptors, a line on stderr."""
