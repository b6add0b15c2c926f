"""Our command line on a terminal: what takes long says how far it is, and records cannot steer the terminal.

Takes the program and a broker's address. Off a terminal neither happens: verbs.sh sees every byte of that.
"""

import os
import pty
import subprocess
import sys
import time

TOPIC = "terminal"
# Longer than a verb may take without a word.
SECONDS = 2


def end(process, terminal):
    """All that a process says to its terminal until its end."""
    said = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            piece = b""
        if not piece:
            break
        said += piece
    if process.wait(30) != 0:
        sys.exit(f"exit status {process.returncode}: {said!r:.500}")
    return said


def check(what, holds, said):
    if not holds:
        sys.exit(f"{what}: {said!r:.500}")


def produce(program, address):
    ours, theirs = pty.openpty()
    command = [program, "produce", "-t", TOPIC, "-b", address]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    until = time.monotonic() + SECONDS
    count = 0
    while time.monotonic() < until:
        process.stdin.write(b"\x1b[31mred\x07\n" * 100)
        process.stdin.flush()
        count += 100
        time.sleep(0.05)
    process.stdin.close()
    said = end(process, ours)
    told = said.split(b"\r\x1b[K")
    check("progress, over and over in one line", len(told) > 3 and b"\n" not in b"".join(told[:-1]), said)
    check("no data on stdout", process.stdout.read() == b"", said)
    last = f"{count} records produced to {TOPIC}\r\n".encode()
    check("the line is taken away, and the sum stands", told[-2:] == [told[-2], last], said)


def consume(program, address):
    ours, theirs = pty.openpty()
    command = [program, "consume", "-t", TOPIC, "-n", "1", "-o", "0", "-b", address]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = end(process, ours)
    check("control characters are shown, not sent", said == b"\\x1b[31mred\\x07\r\n", said)


if __name__ == "__main__":
    produce(*sys.argv[1:])
    consume(*sys.argv[1:])
