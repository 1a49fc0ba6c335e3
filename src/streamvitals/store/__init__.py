"""What a process counts, and how: from the format of a mapped file to the sums of dead processes.

1. ``layout`` gives every series a place in a row of doubles: one row per label set, and one for the process itself.
2. ``segment`` defines the format of a segment: a header, then a slot per open stream, then a block per label set.
   A number is one aligned store of 8 bytes, so that a reader in another process sees the old or the new one.
3. ``memory`` has segments on the heap, or in mapped files that outlive the process; ``segments`` hands out slots and
   blocks, and makes more when they run out. ``labels`` keeps label sets few.
4. A stream takes a slot when it begins, and updates it with every chunk. When it ends, ``measured`` gives its values
   for the histograms, and ``increments`` adds them to a copy of the block's row, which ``store`` then shows instead;
   then it frees the slot. A process may be killed between any two of these steps.
   The last trace of each bucket goes into a segment of its own (``exemplars``), if the process has spans.
5. The agent reads the files of all processes (``agent/reader.py``), counts the open slots of a dead process as
   abandoned, and adds everything up in a ``snapshot``, which is scraped or exported.
6. The numbers of a dead process are added to those in one file (``agent/dead.py``), and then its own files are removed.
"""
