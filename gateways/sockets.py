"""TCP sockets as masters and stations need them, and what their errors mean to a person."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import Any

SOCKET_BUFFER = 256 * 1024
"""Bytes the kernel keeps for each direction of a connection (by itself it would go up to 4 MiB)."""

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def listen(family: int, address: Any, backlog: int) -> socket.socket:
    """A listening, non-blocking socket at an address as `getaddrinfo` gives it; raises OSError."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Before listen, so that every connection inherits them.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        listening.bind(address)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def tune(connection: socket.socket) -> None:
    """No Nagle (with delayed acknowledgements it costs 44 ms a poll); find out within two minutes who is gone."""
    connection.setblocking(False)
    options = ((socket.IPPROTO_TCP, "TCP_NODELAY", 1), (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
               (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60), (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
               (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4))
    with contextlib.suppress(OSError):  # reset while it waited to be accepted: the first read tells
        for level, name, value in options:
            if hasattr(socket, name):
                connection.setsockopt(level, getattr(socket, name), value)


def shown(host: str, port: int) -> str:
    """``127.0.0.1:5020``, ``[::1]:5020``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_error(host: str, port: int, error: OSError) -> str:
    """Why one cannot listen there, and what would do."""
    where = shown(host, port)
    if error.errno == errno.EADDRINUSE:
        return f"{where}: the port is in use; choose another with `port:` or --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (f"{where}: no permission (ports below 1024 need privilege); "
                f"choose e.g. {8000 + port} with `port:` or --port")
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: not an address of this machine; expected e.g. 127.0.0.1, or 0.0.0.0 for all of its own"
    return f"{where}: {error.strerror}"


def accept_error(error: OSError) -> str:
    """Why nobody can be let in just now."""
    return "out of files (ulimit -n)" if error.errno in _OUT_OF_FILES else str(error.strerror)


def handshake_error(error: OSError) -> str:
    """Why a TLS handshake failed: what OpenSSL says, without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    if isinstance(error, ConnectionResetError):
        return "closed by the peer"
    return str(error) or type(error).__name__


def lost(error: Exception | None) -> str:
    """Why a connection ended that we did not end."""
    if error is None or isinstance(error, ConnectionError):
        return "by the peer"
    if isinstance(error, OSError):
        return f"lost: {error.strerror or error}"
    return f"an error of ours: {type(error).__name__}: {error}"
