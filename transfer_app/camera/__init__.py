"""A camera told as visits: who came, from when to when; without PyTorch."""

from transfer_app.camera.visits import UNSURE as UNSURE
from transfer_app.camera.visits import Rules as Rules
from transfer_app.camera.visits import Visit as Visit
from transfer_app.camera.watcher import Watcher as Watcher
