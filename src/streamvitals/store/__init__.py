"""What a process counts: from the first byte of a mapped file to the sum of dead processes.

1. ``layout`` gives every series a place in a row of doubles: one row per label set, and one for the process itself.
2. ``segment`` says how such rows stand in a segment: a header, then a slot per open stream, then a block per label set.
   A number is one aligned store of 8 bytes, so that a reader in another process sees the old or the new one.
3. ``memory`` has segments on the heap, or in mapped files that outlive the process; ``segments`` hands out slots and
   blocks, and makes more when they run out. ``labels`` keeps label sets few.
4. A stream takes a slot when it begins, and stamps it with every chunk. When it ends, ``measured`` says what histograms
   are told, ``increments`` makes new numbers of the block's row, and ``store`` writes them: first to the redo
   record, then to the row, then it frees the slot. A process may be killed between any two of these.
5. The agent reads the files of all processes (``agent/reader.py``), finishes what a redo record has left half done,
   counts the open slots of a dead process as abandoned, and adds all up in a ``snapshot``: it is scraped or sent.
6. The numbers of a process that is gone are folded into one file (``agent/dead.py``), and then its own are removed.
"""
