"""Starts a program beside a file system that takes every question and answers none: `hung.py FOLDER PROGRAM WORD...`.

The kernel's questions go to the program itself, which does not read them, so that the file system ends with it. To be
run in a mount namespace of its own.
"""

import ctypes
import os
import struct
import sys

# Of linux/fuse.h: the header of an answer, then what is said to the kernel's first question.
ANSWER = struct.Struct("=IiQIIIIHHII36x")
QUESTION = struct.Struct("=IIQQIIII")
VERSION = (7, 31)
LONGEST = 256 * 1024

if __name__ == "__main__":
    folder, program, *words = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options):
        sys.exit(os.strerror(ctypes.get_errno()))
    asked = QUESTION.unpack_from(os.read(device, LONGEST))[2]
    os.write(device, ANSWER.pack(ANSWER.size, 0, asked, *VERSION, 0, 0, 8, 6, 4096, 1))
    os.set_inheritable(device, True)  # noqa: FBT003  os's own signature
    os.execvp(program, [program, *words])
