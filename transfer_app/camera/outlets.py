"""Where visits are told: standard output, a command, MQTT; none of them holds up the camera."""

import logging
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from staged_training.runtime.errors import InputError, first_line
from transfer_app.camera.addresses import shown, split_address

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

PASSWORD = "NLP_TRANSFER_MQTT_PASSWORD"
"""The variable of the environment that has the password of an MQTT broker."""

_WAITING = 100  # events that wait for a command, or for a broker
_COMMAND_TIMEOUT = 60.0  # seconds
_CONNECT_TIMEOUT = 10.0  # seconds
_LONGEST_PAUSE = 60  # seconds between two attempts to connect
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TOPIC = re.compile(r"[^+#\0]+")
_QUEUE_IS_FULL = 15  # MQTTErrorCode.MQTT_ERR_QUEUE_SIZE

_logger = logging.getLogger(__name__)


class Outlet(Protocol):
    """Somebody who is told of visits."""

    def tell(self, line: str) -> None:
        """Tell of a visit, by a line of JSON; never wait."""

    def close(self, seconds: float) -> None:
        """Wait so long at most for what is still to be told, and end."""


class StandardOutput:
    """Prints a line for each visit."""

    def tell(self, line: str) -> None:
        """Print it."""
        print(line, flush=True)

    def close(self, seconds: float) -> None:
        """Do nothing: all was printed."""


class Command:
    """Runs a command for each visit, one after the other, with the visit on its standard input.

    What it prints goes to standard error. One that fails, or takes longer than a minute, is told.

    Args:
        command: The command and its arguments, quoted as for a shell, which is not used.

    Raises:
        InputError: There is no such command.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"{command}: a quote is not closed.") from error
        if not self._words or not shutil.which(self._words[0]):
            raise InputError(
                f"{command or 'The command'}: no program that can be run. Give one, or its path; a "
                "script needs `chmod +x`."
            )
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._running: subprocess.Popen[str] | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self, line: str) -> None:
        """Tell it when those before have been told, unless too many wait."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            _logger.warning("%s is too slow; it is not told: %s", self._words[0], line)

    def close(self, seconds: float) -> None:
        """Wait for the command, and kill it in the end."""
        deadline = time.monotonic() + seconds
        with suppress(queue.Full):
            self._lines.put(None, timeout=seconds)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._is_over = True
            _kill(self._running)
            self._thread.join(1)
            _logger.warning("%s takes too long, and is killed.", self._words[0])

    def _run(self) -> None:
        for line in iter(self._lines.get, None):
            if self._is_over:
                return
            try:
                self._give(line)
            except OSError as error:
                _logger.warning("%s cannot be run: %s", self._words[0], error.strerror)

    def _give(self, line: str) -> None:
        """Run the command on a line.

        Raises:
            OSError: It cannot be started.
        """
        with subprocess.Popen(
            self._words,
            stdin=subprocess.PIPE,
            stdout=sys.__stderr__ or subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # to be killed with what it started
        ) as self._running:
            try:
                self._running.communicate(f"{line}\n", timeout=_COMMAND_TIMEOUT)
            except subprocess.TimeoutExpired:
                _kill(self._running)
                _logger.warning("%s took too long, and was killed.", self._words[0])
                return
        if status := self._running.returncode:
            _logger.warning("%s failed with status %d.", self._words[0], status)


def _kill(process: "subprocess.Popen[str] | None") -> None:
    """Kill a command, and what it started."""
    if process is None:
        return
    if sys.platform == "win32":  # where there are no groups of processes
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Mqtt:
    """Publishes each visit with QoS 1; what is told while the broker is away comes later.

    Args:
        address: `mqtt://[USER@]HOST[:PORT]/TOPIC`; `mqtts` for a connection by TLS.

    Raises:
        InputError: The address cannot be used, or the broker cannot be reached or refuses.
    """

    def __init__(self, address: str) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise InputError("paho-mqtt is missing: pip install 'nlp-transfer[camera]'.") from error
        parts = split_address(address, PASSWORD)
        self._topic = unquote(parts.path[1:])
        if parts.scheme not in _PORTS or not parts.hostname or not _TOPIC.fullmatch(self._topic):
            raise InputError(
                f"{shown(address)}: give mqtt://[USER@]HOST[:PORT]/TOPIC, or mqtts://..."
            )
        self._host, self._is_lost = parts.hostname, False
        self._told = self.arrived = 0
        self._news = threading.Condition()
        self._answer: ReasonCode | None = None
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, _LONGEST_PAUSE)
        self._client.max_queued_messages_set(_WAITING)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), os.environ.get(PASSWORD))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._published
        self._connect(parts.port or _PORTS[parts.scheme])

    def tell(self, line: str) -> None:
        """Send it, or keep it until the broker is back, unless too many wait."""
        if self._client.publish(self._topic, line, qos=1).rc == _QUEUE_IS_FULL:
            _logger.warning("%s is away for too long; it is not told: %s", self._host, line)
        else:
            self._told += 1

    def close(self, seconds: float) -> None:
        """Wait until the broker has everything."""
        with self._news:
            if not self._news.wait_for(lambda: self.arrived >= self._told, seconds):
                left = self._told - self.arrived
                _logger.warning("%s was not told of the last %d visits.", self._host, left)
        self._client.disconnect()

    def _connect(self, port: int) -> None:
        """Connect for the first time, after which lost connections come back by themselves.

        Raises:
            InputError: The broker cannot be reached, or refuses.
        """
        try:
            self._client.connect(self._host, port)
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise InputError(
                f"{self._host}: no connection to an MQTT broker at port {port} ({reason})."
            ) from error
        self._client.loop_start()
        with self._news:
            self._news.wait_for(lambda: self._answer, _CONNECT_TIMEOUT)
        if self._answer is None:
            self._client.disconnect()
            raise InputError(
                f"{self._host}: what listens at port {port} does not answer as an MQTT broker. "
                "Check the port, and whether it is mqtt or mqtts."
            )
        if self._answer.is_failure:
            self._client.disconnect()
            raise InputError(
                f"{self._host}: the MQTT broker refuses ({self._answer}). Check the user, and the "
                f"password in {PASSWORD}."
            )

    def _connected(self, client: Any, data: Any, flags: Any, code: "ReasonCode", _: Any) -> None:
        if self._is_lost:
            _logger.warning("%s: the MQTT broker is back (%s).", self._host, code)
        with self._news:
            self._answer, self._is_lost = code, code.is_failure
            self._news.notify()

    def _disconnected(self, client: Any, data: Any, flags: Any, code: "ReasonCode", _: Any) -> None:
        if code.is_failure and not self._is_lost and self._answer is not None:
            self._is_lost = True
            _logger.warning("%s: the MQTT broker is gone (%s). Trying again.", self._host, code)

    def _published(self, client: Any, data: Any, number: int, code: Any, _: Any) -> None:
        with self._news:
            self.arrived += 1
            self._news.notify()
