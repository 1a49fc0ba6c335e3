"""Callgrind: told from inside the process when to count, and what it wrote.

Instructions are counted as they are executed, but for those of the C library, the allocator, hash tables and the
cache of methods. What they take depends on where things happen to lie in memory, which differs by some percent with
every unrelated change: whether a pool is full just now, which two names share a place. A call of any of them counts
as its price instead, whatever it took. What is left repeats to the thousandth.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# By what a function's name begins with: about what it takes when nothing is in the way.
PRICES = {
    re.compile(
        r"_Py_dict_lookup|unicodekeys_|dictkeys_|_PyDict_GetItem_KnownHash|set_(add_entry|lookkey|table_resize)"
    ): 90,
    re.compile(
        r"_?Py(Mem|Object)_\w*(Malloc|Calloc|Realloc|Free)\b|pymalloc_|new_arena|allocate_from_new_pool"
        r"|_PyType_Lookup|find_name_in_mro"
    ): 30,
}
C_LIBRARY = 30

# valgrind.h's client request, a sequence of instructions that does nothing elsewhere, made a C function of one
# pointer: CI has no compiler. By platform.machine().
_REQUEST = {
    # mov rax, rdi; xor edx, edx; rol rdi, 3, 13, 61, 51; xchg rbx, rbx; mov rax, rdx; ret
    "x86_64": "4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3",
    # mov x4, x0; mov x3, xzr; ror x12, x12, 3, 13, 51, 61; orr x10, x10, x10; mov x0, x3; ret
    "aarch64": "e40300aa e3031faa 8c0dcc93 8c35cc93 8ccdcc93 8cf5cc93 4a010aaa e00303aa c0035fd6",
}
MACHINES = tuple(_REQUEST)
OPTIONS = ("--tool=callgrind", "-q", "--instr-atstart=no", "--collect-atstart=no")
_TOGGLE, _DUMP, _START = 0x43540002, 0x43540003, 0x43540004
_COST = frozenset("0123456789+-*")  # how a line begins that says where, and how much
_Arguments = ctypes.c_size_t * 6


class Callgrind:
    """The callgrind that this process runs under; without one nothing happens."""

    def __init__(self) -> None:
        # Kept, since the memory goes with it.
        self._code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code.write(bytes.fromhex(_REQUEST[platform.machine()]))
        # PYFUNCTYPE keeps the interpreter's lock: no other thread gets its turn because of us.
        function = ctypes.PYFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)
        self._call = function(ctypes.addressof(ctypes.c_char.from_buffer(self._code)))
        self._toggle = _Arguments(_TOGGLE)

    def start(self) -> None:
        """Be ready to count: until then the process is some times faster."""
        self._call(_Arguments(_START))

    def toggle(self) -> None:
        """Begin to count on this thread, or end."""
        self._call(self._toggle)

    def dump(self, label: str) -> None:
        """Write what was counted since the last time, under this name."""
        text = ctypes.create_string_buffer(label.encode())
        self._call(_Arguments(_DUMP, ctypes.addressof(text)))


def dumps(directory: Path) -> dict[str, Counter[str]]:
    """What ``Callgrind.dump`` has written there, by its names: instructions by C function."""
    found = {}
    for file in directory.iterdir():
        label, counts = read(file.read_text().splitlines())
        if label:
            found[label] = counts
    return found


def read(lines: Iterable[str]) -> tuple[str, Counter[str]]:
    """One dump: its name, and instructions by C function, with calls of what has a price as "calls of ..."."""
    label, counts = "", Counter[str]()
    names: dict[str, dict[str, str]] = {"ob": {}, "fn": {}}  # written out once, and a number from then on
    now: dict[str, str] = {}
    calls: int | None = None
    for line in lines:
        if line[:1] in _COST:
            # The line that follows "calls=" is what was spent in the callee, which has lines of its own.
            inside = _price(now["ob"], now["fn"])
            if calls is None:
                if not inside:
                    counts[now["fn"]] += int(line.split()[1])
                continue
            price = _price(now.pop("cob", now["ob"]), now["cfn"])
            if price and not inside:
                counts[f"calls of {now['cfn']}"] += price * calls
            calls = None
        elif line.startswith(("fn=", "cfn=", "ob=", "cob=")):
            key, _, rest = line.partition("=")
            number, _, name = rest.partition(" ")
            known = names[key[-2:]]
            now[key] = known.setdefault(number, name)
        elif line.startswith("calls="):
            calls = int(line[6:].partition(" ")[0])
        elif line.startswith("desc: Trigger: Client Request: "):
            label = line.rpartition(": ")[2]
            if not label:
                break
    return label, counts


@cache
def _price(library: str, function: str) -> int:
    if "/libc." in library:
        return C_LIBRARY
    return next((price for name, price in PRICES.items() if name.match(function)), 0)
