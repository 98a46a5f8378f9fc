"""Visits are told to commands and brokers, and none of them holds up the camera."""

import getpass
import json
import shutil
import socket
import subprocess
import threading
import time

import psutil
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from staged_training.runtime.errors import InputError
from transfer_app.camera import outlets
from transfer_app.camera.outlets import Command, Mqtt
from transfer_app.command_line import main


def test_a_command_gets_each_event_in_order(tmp_path):
    file = tmp_path / "events"
    command = Command(f"""sh -c 'sleep 0.05; cat >> "{file}"'""")
    for number in range(5):
        command.tell(f"event {number} of a café")
    command.close(10)
    assert file.read_text().splitlines() == [f"event {number} of a café" for number in range(5)]


def test_what_goes_wrong_with_a_command_is_told_and_the_next_event_comes(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(outlets, "_COMMAND_TIMEOUT", 1.0)
    script = tmp_path / "script"
    script.write_text(
        f'#!/bin/sh\nread what\ncase "$what" in fail) exit 3;; hang) sleep 60;; esac\n'
        f'echo "$what" >> {tmp_path}/done\n'
    )
    script.chmod(0o755)
    command = Command(str(script))
    for event in ("one", "fail", "hang", "two"):
        command.tell(event)
    command.close(10)
    assert (tmp_path / "done").read_text().split() == ["one", "two"]
    assert f"{script} failed with status 3." in caplog.text
    assert f"{script} took too long, and was killed." in caplog.text


def test_a_command_that_vanished_is_told(tmp_path, caplog):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    command = Command(str(script))
    script.unlink()
    command.tell("event")
    command.close(10)
    assert f"{script} cannot be run: No such file or directory" in caplog.text


def test_a_command_that_is_too_slow_does_not_hold_up_the_camera(caplog, monkeypatch):
    monkeypatch.setattr(outlets, "_WAITING", 3)
    command = Command("sleep 60")
    begin = time.monotonic()
    for number in range(10):
        command.tell(f"event {number}")
    assert time.monotonic() - begin < 1
    assert "sleep is too slow; it is not told: event 9" in caplog.text
    command.close(0.5)
    assert time.monotonic() - begin < 5
    assert "sleep takes too long, and is killed." in caplog.text
    assert "sleep" not in [child.name() for child in psutil.Process().children()]


class Broker:
    """Mosquitto on loopback, with a configuration and a folder of its own."""

    def __init__(self, folder, user=None):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        lines = [f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}"]
        lines += ["persistence true", f"persistence_location {folder}/"]
        if user:
            (folder / "users").write_text(f"{user}:secret\n")
            subprocess.run(["mosquitto_passwd", "-U", folder / "users"], check=True)
            lines += ["allow_anonymous false", f"password_file {folder / 'users'}"]
        else:
            lines += ["allow_anonymous true"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = subprocess.Popen([program, "-c", self._config], stderr=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as connection:
                if not connection.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.05)
        raise AssertionError("Mosquitto does not start")

    def stop(self):
        self._process.terminate()
        self._process.wait()

    def heard(self, topic):
        """A list that grows with what is published; what comes while the broker starts, too."""
        messages, is_ready = [], threading.Event()
        client = Client(CallbackAPIVersion.VERSION2, client_id="ear", clean_session=False)
        client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: is_ready.set()
        client.on_message = lambda _, __, message: messages.append(message.payload.decode())
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert is_ready.wait(10)
        return messages


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


needs_mosquitto = pytest.mark.skipif(
    not (shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")),
    reason="Mosquitto is not installed (Debian: mosquitto)",
)


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@needs_mosquitto
def test_visits_of_a_film_are_published(broker, feeder, five_visits, capsys, tmp_path):
    heard = broker.heard("feeding/kitchen")
    given = tmp_path / "given"
    address = f"mqtt://127.0.0.1:{broker.port}/feeding/kitchen"
    options = ["--mqtt", address, "--on-event", f"sh -c 'cat >> {given}'"]
    assert main(["watch", str(five_visits), "--model", feeder, *options]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["label"] for line in printed] == ["cat", "dog", "unsure"]
    assert given.read_text().splitlines() == printed
    wait_until(lambda: heard == printed)


@needs_mosquitto
def test_what_is_told_while_the_broker_is_away_arrives_later(broker, caplog, monkeypatch):
    monkeypatch.setattr(outlets, "_WAITING", 5)
    heard = broker.heard("visits")
    told = Mqtt(f"mqtt://127.0.0.1:{broker.port}/visits")
    told.tell("before")
    wait_until(lambda: heard == ["before"])
    broker.stop()
    wait_until(lambda: "the MQTT broker is gone" in caplog.text)
    for number in range(7):
        told.tell(f"event {number}")
    assert "is away for too long; it is not told: event 6" in caplog.text
    broker.start()
    told.close(20)
    assert "the MQTT broker is back" in caplog.text
    wait_until(lambda: heard == ["before", *(f"event {number}" for number in range(5))])


@needs_mosquitto
def test_a_broker_that_does_not_come_back_does_not_hold_up_the_end(broker, caplog):
    told = Mqtt(f"mqtt://127.0.0.1:{broker.port}/visits")
    broker.stop()
    told.tell("event")
    begin = time.monotonic()
    told.close(0.5)
    assert time.monotonic() - begin < 2
    assert "127.0.0.1 was not told of the last 1 visits." in caplog.text


def test_a_broker_that_is_silent_is_not_told_to_refuse(monkeypatch):
    monkeypatch.setattr(outlets, "_CONNECT_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(InputError, match=f"at port {port} does not answer"):
            Mqtt(f"mqtt://127.0.0.1:{port}/visits")


@needs_mosquitto
def test_a_broker_asks_for_the_password_of_the_environment(tmp_path, monkeypatch):
    broker = Broker(tmp_path, user="me")
    try:
        address = f"mqtt://me@127.0.0.1:{broker.port}/visits"
        monkeypatch.setenv(outlets.PASSWORD, "wrong")
        with pytest.raises(InputError, match="the MQTT broker refuses"):
            Mqtt(address)
        monkeypatch.setenv(outlets.PASSWORD, "secret")
        told = Mqtt(address)
        told.tell("event")
        told.close(10)
        assert told.arrived == 1
    finally:
        broker.stop()
