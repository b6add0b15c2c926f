"""As much of Kafka's protocol as a test needs that wants to know what is in a frame: no client would say."""

import socket
import struct


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(n):
    n = n << 1 ^ n >> 63
    out = bytearray()
    while n & ~0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def batch(value, timestamp=0):
    """A record batch of one record without a key."""
    record = b"\0" + varint(0) + varint(0) + varint(-1) + varint(len(value)) + value + varint(0)
    record = varint(len(record)) + record
    checked = struct.pack(">hiqqqhii", 0, 0, timestamp, timestamp, -1, -1, -1, 1) + record
    rest = struct.pack(">ibI", -1, 2, crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


class Connection:
    """One connection; requests may be sent ahead of their answers."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, api, version, correlation, body):
        frame = struct.pack(">hhi", api, version, correlation) + string("order") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        """Correlation id and body of the next answer."""
        (length,) = struct.unpack(">i", self._exactly(4))
        frame = self._exactly(length)
        return struct.unpack(">i", frame[:4])[0], frame[4:]

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise SystemExit("the node closed the connection")
            data += piece
        return data

    def create(self, topic):
        """By asking for its metadata (version 4), until it has a leader."""
        body = struct.pack(">i", 1) + string(topic) + b"\1"
        for attempt in range(100):
            self.send(3, 4, attempt, body)
            answer = self.receive()[1]
            # The one partition's error, index and leader stand before its replicas and in-sync replicas: 1 each.
            error, index, leader = struct.unpack(">hii", answer[-26:-16])
            if error == 0 and leader >= 0:
                return
        raise SystemExit(f"{topic} gets no leader")

    def produce(self, topic, correlation, value, acks=-1):
        """One record to partition 0 (version 3)."""
        records = batch(value)
        body = struct.pack(">hhii", -1, acks, 30_000, 1) + string(topic)
        self.send(0, 3, correlation, body + struct.pack(">iii", 1, 0, len(records)) + records)

    def produced(self, topic):
        """Correlation id and base offset of the next answer to a produce."""
        correlation, body = self.receive()
        at = 4 + 2 + len(topic) + 4
        index, error, offset = struct.unpack(">ihq", body[at : at + 14])
        if index != 0 or error != 0:
            raise SystemExit(f"request {correlation:#x} was refused: error {error}")
        return correlation, offset
