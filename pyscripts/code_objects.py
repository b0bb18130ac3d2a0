"""Prints code objects with the positions and names that this interpreter itself reports for them.

  code_objects.py CODE_OBJECTS

Output: records, with all numbers little-endian:
  i32 first line, u32 length of the table, u32 number of positions, u8 width, u32 bytes of the stored name, u32
  characters of the name; then the bytes of `co_linetable`; four i32 for each of `co_positions()`, in its order,
  NOTHING for None; the bytes of the name as the text object stores them; u32 for each of its characters.

The code objects of generated sources come first: they use parts of the format that the standard library may not use. Then
follow CODE_OBJECTS from the standard library, module by module in a mixed but fixed order.
"""

import array
import ctypes
import itertools
import pathlib
import re
import struct
import sys
import sysconfig
import types
import zlib

NOTHING = -(2**31)
# `PyASCIIObject` of a build with the GIL: reference count, type, length, hash, state.
STATE = struct.Struct("<qqqqI")
ASCII_HEADER = 40
COMPACT_HEADER = 56


def stored(text):
    """Width and bytes of the characters in memory."""
    address = id(text)
    _, _, length, _, state = STATE.unpack(ctypes.string_at(address, STATE.size))
    width, compact, ascii = state >> 2 & 7, state >> 5 & 1, state >> 6 & 1
    assert compact and length == len(text), (text, state)
    return width, ctypes.string_at(address + (ASCII_HEADER if ascii else COMPACT_HEADER), length * width)


def emit(out, code):
    positions = array.array("i", [])
    flat = itertools.chain.from_iterable(code.co_positions())
    positions.extend(NOTHING if part is None else part for part in flat)
    name = code.co_qualname
    width, data = stored(name)
    out.write(
        struct.pack(
            "<iIIBII",
            code.co_firstlineno,
            len(code.co_linetable),
            len(positions) // 4,
            width,
            len(data),
            len(name),
        )
    )
    out.write(code.co_linetable)
    out.write(positions.tobytes())
    out.write(data)
    out.write(array.array("I", map(ord, name)).tobytes())


def with_inner(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from with_inner(constant)


def generated():
    """Sources, and for some of them a change to each of their functions."""
    # Names of each width, in one function inside another.
    for name in ("leaf", "größe", "läufer_漢字λ", "leaf_𠀀", "été"):
        yield f"class {name}_A:\n    def {name}(self):\n        def {name}():\n            return [self for self in self]\n"
    # Names that cannot be written in source.
    yield "def f(): pass", lambda code: code.replace(co_qualname="lone \ud800\udc00\udfff")
    yield "def f(): pass", lambda code: code.replace(co_qualname="")
    yield "def f(): pass", lambda code: code.replace(co_qualname="\x00\xff\u0100\uffff\U0010ffff" * 1000)
    # Columns beyond every short form, and beyond 16 bits.
    for columns in (70, 80, 130, 250, 256, 4000, 70000):
        yield "x = (" + " " * columns + "f(1, 2) +\n" + " " * columns + "g(3,\n\n\n 4))\n"
    yield "def f():\n" + "  if x:" + "g();" * 5000 + "\n"
    # Lines that jump back and far ahead: loops, decorators, calls over many lines, empty lines in between.
    for lines in (1, 2, 3, 30, 40, 2000, 70000):
        gap = "\n" * lines
        yield f"def f():\n for x in y:{gap}  g(x,{gap}   h(x),{gap}   z)\n  try: pass{gap}  finally: x\n"
        yield f"@d(1,{gap} 2)\n@e{gap}\ndef f(a=(1,{gap}2)):\n  return a\n"
    # Everything that makes code without a position.
    yield "async def f():\n  async with a as b:\n    async for c in b:\n      yield c\n  await [x async for x in f()]\n"
    yield "def f():\n  with a as b, c as d:\n    try:\n      return b\n    except* E as e:\n      raise\n"
    yield "match x:\n  case {'a': [b, *_], **c} if b: pass\n  case C(d=1) | None: pass\n"
    # First lines that only tools make. A module's code begins one line earlier, so 0 means no line there.
    for line in (0, 1, 2**20, 2**31 - 2**10):
        yield "def f():\n  return g(1,\n  2)\n", lambda code, line=line: code.replace(co_firstlineno=line)
    # More code units than 16 bits can count.
    yield "x = [\n" + "f(a.b, c[0])\n,\n" * 12000 + "]\n"


def standard_library():
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    # Skip installed packages, which may be missing, and the tests, some of whose files are not valid source.
    names = [name for name in names if not re.search("-packages/|(^|/)(test|tests)/", name)]
    for name in sorted(names, key=lambda name: (zlib.crc32(name.encode()), name)):
        yield from with_inner(compile((folder / name).read_bytes(), name, "exec", dont_inherit=True))


def main():
    wanted = int(sys.argv[1])
    out = sys.stdout.buffer
    for entry in generated():
        source, change = (entry, None) if isinstance(entry, str) else entry
        for code in with_inner(compile(source, "generated", "exec", dont_inherit=True)):
            emit(out, change(code) if change and code.co_name != "<module>" else code)
    for code in itertools.islice(standard_library(), wanted):
        emit(out, code)
    out.flush()


if __name__ == "__main__":
    main()
