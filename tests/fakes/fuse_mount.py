"""A FUSE file system that answers, is slow, or hangs, for as long as its process lives.

Speaks the kernel's protocol itself, so that no library is between a test and a hang. It mounts in a
mount namespace of its own: when the processes in it have ended, nothing is left of the mount; when
this process is killed, the kernel aborts what hangs. It ends with the process that started it.

    python fuse_mount.py FOLDER      then on standard input: ok | slow SECONDS | hang

The kernel is taught first that this file system takes no interrupts. From then on a process that
waits for it is in D state, as on NFS, and one that is killed meanwhile stays until the answer.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
import threading
import time

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS = 1, 2, 3, 14, 15, 17
RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 18, 25, 26, 27, 28, 29
INTERRUPT, DESTROY, BATCH_FORGET = 36, 38, 42
SILENT = {FORGET, BATCH_FORGET}
HEADER = struct.Struct("<IIQQIIIHH")
ROOT, FILE, SIZE = 1, 2, 1 << 20
NEWNS, PRIVATE_ALL, DIES_WITH_PARENT = 0x20000, (1 << 18) | (1 << 14), 1

libc = ctypes.CDLL(None, use_errno=True)


def checked(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        sys.exit(f"No FUSE mount can be made here, {what}: {os.strerror(number)}")


def mount(folder: str) -> int:
    libc.prctl(DIES_WITH_PARENT, signal.SIGKILL)
    checked("unshare", libc.unshare(NEWNS))
    checked("mount / private", libc.mount(None, b"/", None, PRIVATE_ALL, None))
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        sys.exit(f"No FUSE mount can be made here, /dev/fuse: {error.strerror}")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    checked("mount", libc.mount(b"workroom-test", folder.encode(), b"fuse", 0, options))
    return device


def attributes(node: int) -> bytes:
    kind, size = (0o040755, 4096) if node == ROOT else (0o100644, SIZE)
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, kind, 1, 0, 0, 0, 4096, 0)


def reply(opcode: int, node: int, body: bytes) -> bytes | int:
    """The answer's body, or an error number."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 64, 48, 4096, 1, 1, 0, 0)
    if opcode == GETATTR:
        return struct.pack("<QII", 0, 0, 0) + attributes(node)
    if opcode == STATFS:
        return struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 9, 9, 4096, 255, 4096, 0)
    if opcode == LOOKUP:
        if body != b"data\0":
            return errno.ENOENT
        return struct.pack("<4Q2I", FILE, 0, 0, 0, 0, 0) + attributes(FILE)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("<QIi", 1, 1, 0)
    if opcode == READ:
        _, offset, size = struct.unpack_from("<QQI", body)
        return bytes(max(0, min(size, SIZE - offset)))
    if opcode in (READDIR, RELEASE, RELEASEDIR, FLUSH, DESTROY):
        return b""
    return errno.ENOSYS


class Server:
    def __init__(self, device: int) -> None:
        self.device, self.delay = device, 0.0
        self.hangs = False
        self.taught = threading.Event()
        self.held: list[tuple[int, int, int, bytes]] = []

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.device, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue
                return
            _, opcode, unique, node, *_ = HEADER.unpack_from(request)
            call = (opcode, unique, node, request[HEADER.size :])
            if opcode in SILENT:
                continue
            if opcode == INTERRUPT:
                os.write(self.device, struct.pack("<IiQ", 16, -errno.ENOSYS, unique))
                self.taught.set()
                continue
            if self.hangs and opcode != INIT:
                self.held.append(call)
            elif self.delay and opcode != INIT:
                threading.Thread(target=self.late, args=(call, self.delay), daemon=True).start()
            else:
                self.answer(call)

    def late(self, call: tuple[int, int, int, bytes], seconds: float) -> None:
        time.sleep(seconds)
        self.answer(call)

    def answer(self, call: tuple[int, int, int, bytes]) -> None:
        opcode, unique, node, body = call
        said = reply(opcode, node, body)
        code, text = (-said, b"") if isinstance(said, int) else (0, said)
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(text), code, unique) + text)
        except OSError:
            return  # who asked has been killed meanwhile

    def teach(self, folder: str) -> None:
        """Have one process interrupted, and refuse that."""
        self.obey(["hang"])
        if (pid := os.fork()) == 0:
            os.statvfs(folder)
            os._exit(0)
        while not self.held:
            time.sleep(0.01)
        os.kill(pid, signal.SIGTERM)
        self.taught.wait(10)
        self.obey(["ok"])
        os.waitpid(pid, 0)

    def obey(self, words: list[str]) -> None:
        self.hangs, self.delay = words[0] == "hang", 0.0
        if words[0] == "slow":
            self.delay = float(words[1])
        if not self.hangs:
            held, self.held = self.held, []
            for call in held:
                self.answer(call)


def main(folder: str) -> None:
    server = Server(mount(folder))
    threading.Thread(target=server.serve, daemon=True).start()
    server.teach(folder)
    print("mounted", flush=True)
    for line in sys.stdin:
        server.obey(line.split())
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
