"""Training a pretext task on two devices: the same as on one, as a batch is shared by them."""

import torch
from safetensors.torch import load_file

from tests.processes import finished, launch
from vision_transfer.backbones import untrained_backbone
from vision_transfer.pretext.rotation import ROTATIONS, RotatedImages
from vision_transfer.pretext.training import train_pretext

_TRAIN = """
import sys
from pathlib import Path
import torch
from staged_training.runtime.processes import leave
from vision_transfer.backbones import untrained_backbone
from vision_transfer.pretext.rotation import ROTATIONS, RotatedImages
from vision_transfer.pretext.training import train_pretext

folder = Path(sys.argv[1])
images = list(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
rotated = RotatedImages(images, 32, augmented=False)
model, _ = untrained_backbone("test_convnext", ROTATIONS, 32)  # has no statistics of batches
trainer = train_pretext(
    model, rotated, rotated, folder / "run", epochs=2, batch_size=16, use_cpu=True
)
trainer.save_model(str(folder / "model"))
print("processes:", trainer.accelerator.num_processes)
leave()
"""


def weights(folder, processes):
    """What is learnt by so many processes."""
    (folder / "train.py").write_text(_TRAIN)
    told = finished(launch(processes, folder / "train.py", folder))
    assert f"processes: {processes}" in told
    return load_file(folder / "model" / "model.safetensors")


def test_two_processes_learn_what_one_does(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = weights(tmp_path / "one", processes=1)
    two = weights(tmp_path / "two", processes=2)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-4), name


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(tmp_path):
    def learn(epochs):
        model, _ = untrained_backbone("test_resnet", ROTATIONS, 32)
        images = list(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        rotated = RotatedImages(images, 32, augmented=False)
        options = {"use_cpu": True, "disable_tqdm": True}
        return train_pretext(model, rotated, rotated, tmp_path, epochs=epochs, **options)

    learn(epochs=2)
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-9" / "model.safetensors").write_bytes(b"half")
    assert learn(epochs=3).state.global_step == 3
