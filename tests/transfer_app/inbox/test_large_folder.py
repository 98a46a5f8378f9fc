"""Twenty thousand mails: no more memory than for a few, and how many a second, beside `predict`.

`pytest -m slow -s tests/transfer_app/inbox/test_large_folder.py` prints the figures of the guide.
"""

import subprocess
import sys
import time

import psutil
import pytest

from tests.transfer_app.inbox.processes import Marking, mails, marked

MAILS = 20_000
MIB = 2**20


@pytest.mark.slow
def test_memory_is_flat_over_many_mails(server, user, model, tmp_path):
    texts = list(mails(MAILS))
    server.store(user, texts)
    separator = b"From someone@example.org Mon Jun  3 10:15:00 2024\n"
    (tmp_path / "all.mbox").write_bytes(b"".join(separator + mail + b"\n" for mail in texts))
    with server.client(user, readonly=True) as client:
        assert len(client.search()) == MAILS  # and the server knows where they lie
    memory = []
    begin = time.monotonic()
    with Marking(server.url(user), "--model", model, "--once") as marking:
        process = psutil.Process(marking.process.pid)
        while marking.process.poll() is None:
            memory.append(process.memory_info().rss / MIB)
            time.sleep(0.1)
        seconds = time.monotonic() - begin
        assert f"{MAILS:,} mails: " in marking.out
        assert len(marked(server, user)) == marking.out.count("UID") > MAILS / 4
    early, late = (max(part) for part in (memory[: len(memory) // 3], memory[-len(memory) // 3 :]))
    begin = time.monotonic()
    code = "import sys; from transfer_app.command_line import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "predict", model, tmp_path / "all.mbox", "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    alone = time.monotonic() - begin
    print(
        f"\nmark: {MAILS / seconds:.0f} mails a second, {max(memory):.0f} MB at most, {late:.0f} MB"
    )
    print(f"in the last third, {early:.0f} MB in the first; predict: {MAILS / alone:.0f} a second")
    assert late < early + 20
