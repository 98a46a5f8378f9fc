"""A camera on loopback that speaks RTSP, and shows what a test tells it to."""

import base64
import socket
import struct
import threading
import time
from contextlib import suppress

import av
import numpy as np

_RATE = 10  # frames a second
_PACKET = 7 * 188  # bytes of MPEG-TS, as many as fit into a packet of a network


class RtspCamera:
    """A camera at `url`, which asks for a password if it has one; each client gets a new stream."""

    def __init__(self, password=None, port=0):
        self._password = password
        self._pixels = np.zeros((288, 384, 3), np.uint8)
        self._server = socket.create_server(("127.0.0.1", port))
        self._clients = []
        self.is_watched = threading.Event()
        self.port = self._server.getsockname()[1]
        self.url = f"rtsp://{'me@' if password else ''}127.0.0.1:{self.port}/stream"
        threading.Thread(target=self._accept, daemon=True).start()

    def show(self, pixels):
        self._pixels = np.ascontiguousarray(pixels)

    def close(self):
        """Break off in the middle, as a camera without power does."""
        for connection in [self._server, *self._clients]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._clients.append(client)
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client):
        with suppress(OSError, av.FFmpegError), client.makefile("rb") as requests:
            while line := requests.readline():
                method = line.split()[0].decode()
                headers = dict(
                    header.decode().strip().split(": ", 1)
                    for header in iter(requests.readline, b"\r\n")
                )
                client.sendall(self._answer(method, headers))
                if method == "PLAY":
                    self.is_watched.set()
                    self._stream(client)

    def _answer(self, method, headers):
        """An answer to a request; the stream is MPEG-TS, in the connection of the requests."""
        status, lines, body = "200 OK", [f"CSeq: {headers['CSeq']}", "Session: 1"], ""
        allowed = base64.b64encode(f"me:{self._password}".encode()).decode()
        if self._password and headers.get("Authorization") != f"Basic {allowed}":
            status, lines = "401 Unauthorized", [*lines, 'WWW-Authenticate: Basic realm="camera"']
        elif method == "DESCRIBE":
            body = "v=0\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:0\r\n"
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        return "\r\n".join([f"RTSP/1.0 {status}", *lines, "", body]).encode()

    def _stream(self, client):
        packets = _Packets(client)
        with av.open(packets, "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=_RATE)
            stream.height, stream.width = self._pixels.shape[:2]
            stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
            stream.codec_context.gop_size = 5
            for number in range(10_000):
                picture = av.VideoFrame.from_ndarray(self._pixels, format="rgb24")
                picture.pts = number
                container.mux(stream.encode(picture))
                packets.flush()
                time.sleep(1 / _RATE)


class _Packets:
    """A file that sends what is written to it by RTP over RTSP."""

    def __init__(self, client):
        self._client, self._waiting, self._number = client, b"", 0

    def write(self, data):
        self._waiting += data
        return len(data)

    def flush(self):
        for begin in range(0, len(self._waiting), _PACKET):
            content = self._waiting[begin : begin + _PACKET]
            clock = int(time.monotonic() * 90_000) & 0xFFFFFFFF
            header = struct.pack("!BBHII", 0x80, 33, self._number & 0xFFFF, clock, 1)
            self._client.sendall(b"$\0" + struct.pack("!H", 12 + len(content)) + header + content)
            self._number += 1
        self._waiting = b""
